"""How much of a cluster's GPUs packing allocates on real traces, judged by a program that is not ours.

The judge (benchmarks/judge.py) replays each trace it has data for against the market's packing and its own FGD, at
100 and 130 % of the cluster's GPUs asked for.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

from benchmarks.judge import DATA, DEFAULT, Run, load, replay, traces
from benchmarks.trace_policy import Policy

SEEDS, QUICK_SEEDS = range(42, 52), range(42, 44)
MARKS = ("alloc@100", "alloc@130")
TARGET = 96.0
BELOW_FGD_MAX = 0.1


def main() -> int:
    """Print a row per trace and one JSON line. Returns 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with openb_*.csv (the judge's own without it)")
    parser.add_argument("--traces", help="comma list (all in the folder without it)")
    parser.add_argument("--quick", action="store_true", help="two seeds")
    options = parser.parse_args()
    judge, data = load(), options.data
    chosen = options.traces.split(",") if options.traces else traces(data)
    seeds = QUICK_SEEDS if options.quick else SEEDS
    print(f"GPU allocation % once 100 / 130 % is asked for, seeds {seeds[0]}-{seeds[-1]} (spread over them)")
    print(f"{'trace':<14}{'gridbay':>15}{'spread':>8}{'judge FGD':>15}{'spread':>8}{'decisions/s':>13}{'FGD':>8}")
    kept, allocation, ratio = True, {}, None
    for trace in chosen:
        ours = [replay(judge, Policy, seed, trace, data=data) for seed in seeds]
        theirs = [replay(judge, judge.FGD, seed, trace, data=data) for seed in seeds]
        print(f"{trace:<14}{_cells(ours)}{_cells(theirs)}{_mean(ours, 'decisions_per_s'):>13,.0f}", end="")
        print(f"{_mean(theirs, 'decisions_per_s'):>8,.0f}", flush=True)
        kept &= all(_mean(ours, mark) >= _mean(theirs, mark) - BELOW_FGD_MAX for mark in MARKS)
        allocation[trace] = [round(_mean(ours, mark), 2) for mark in MARKS]
        if trace == DEFAULT:
            ratio = round(_mean(ours, MARKS[1]) / _mean(theirs, MARKS[1]), 4)
            kept &= _mean(ours, MARKS[1]) >= TARGET
    figure = allocation[DEFAULT][1] if DEFAULT in allocation else None
    answer = {"name": "packing", "ratio": ratio, "target": TARGET, "allocation": figure}
    print(json.dumps({**answer, "traces": allocation, "kept": kept}))
    return 0 if kept else 1


def _mean(runs: list[Run], figure: str) -> float:
    return statistics.fmean(run[figure] for run in runs)


def _cells(runs: list[Run]) -> str:
    spread = statistics.stdev(run[MARKS[1]] for run in runs)
    return f"{_mean(runs, MARKS[0]):>7.2f} /{_mean(runs, MARKS[1]):>6.2f}{spread:>8.2f}"


if __name__ == "__main__":
    sys.exit(main())
