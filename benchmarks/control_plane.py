"""How soon the market alone finishes a job, and how many a second (issue 3: control plane, without Ray).

Everything is as in production and durable; only the agents are doubles that answer at once. Finished means: the agent
was answered that the attempt's end is committed. Medians over rounds; each is jobs one by one, then a burst of 200.
"""

import argparse
import asyncio
import json
import os
import statistics
from collections import Counter
from collections.abc import Sequence

from benchmarks.cpu import per_job_ms
from benchmarks.markets import BenchMarket, running
from benchmarks.stand import BURST, Round, Stand

ROUNDS, QUICK_ROUNDS = 9, 2
TARGET_P50_MS, TARGET_JOBS_PER_SECOND = 20.0, 800.0


def main() -> None:
    """Print a row per figure and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--quick", action="store_true", help="two rounds: to see that it works")
    options = parser.parse_args()
    with running(with_agent=False) as bench:
        rounds = asyncio.run(_measure(bench, QUICK_ROUNDS if options.quick else options.rounds))
    show("control plane", rounds)
    cpu = per_job_ms(sum((item.burst_cpu_ms for item in rounds), Counter()), BURST * len(rounds))
    print("CPU ms a job of a burst:", ", ".join(f"{part} {value}" for part, value in cpu.items()))
    p50, rate = (statistics.median(getattr(item, name) for item in rounds) for name in ("p50_ms", "jobs_per_second"))
    ratio = max(p50 / TARGET_P50_MS, TARGET_JOBS_PER_SECOND / rate)
    figures = {"p50_ms": round(p50, 2), "jobs_per_second": round(rate, 1)}
    print(json.dumps({"name": "control_plane", "ratio": round(ratio, 3), "target": 1.0, **figures}))


def show(title: str, rounds: Sequence[Round]) -> None:
    """The figures for people."""
    print(f"{title:<18}{'median':>9}{'least':>9}{'most':>9}   load {os.getloadavg()[0]:.1f}")
    for name in ("p50_ms", "jobs_per_second", "billed_s"):
        values: list[float] = [getattr(item, name) for item in rounds]
        print(f"{name:<18}{statistics.median(values):>9.2f}{min(values):>9.2f}{max(values):>9.2f}")


async def _measure(bench: BenchMarket, count: int) -> list[Round]:
    async with Stand.on(bench) as stand:
        return [await stand.round() for _ in range(count)]


if __name__ == "__main__":
    main()
