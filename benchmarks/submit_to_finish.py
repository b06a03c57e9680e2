"""From submit to finish of a job that does nothing, on a warm pool, sandbox and billing on (issue 3).

Finished means: the state is durable and the SDK has seen it. Alternating with Ray's own Job API, and with a bare launch
of the same minder and sandbox; then a burst of 200 jobs, and of as many bare launches. It wants root, as a provider's
node does.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bare_launch import BareLauncher, bare_launcher
from benchmarks.cpu import cpu_ms, per_job_ms
from benchmarks.markets import BenchMarket, running, until
from benchmarks.ray_jobs import COMMAND as RAY_JOBS
from market.errors import MarketError

PAIRS, QUICK_PAIRS = 9, 3
JOBS_A_PAIR = 5
BURST, THREADS = 200, 16
WAIT_SECONDS = 60.0
RAY_END_SECONDS = 30.0
RUN = "true"
SPEC = {"run": RUN, "resources": {"cpu": "50m", "memory": "64MB", "disk": "64MB"}, "max_duration": "5m"}
JOB_ENVIRONMENT = Path(__file__).parents[1] / ".venv-jobs"
TARGETS = {"against_ray": 1 / 20, "against_bare": 2.5, "billed_s": 2.0}
TARGET_JOBS_PER_SECOND = 60.0


def main() -> None:
    """Print a row per figure and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--quick", action="store_true", help="three pairs: to see that it works")
    options = parser.parse_args()
    runtime = JOB_ENVIRONMENT if JOB_ENVIRONMENT.exists() else None
    with (
        running(with_agent=True) as bench,
        bare_launcher(bench.state_dir.parent / "bare", runtime) as bare,
        _ray() as ray,
    ):
        _warm_up(bench, bare, ray)
        figures = _pairs(bench, bare, ray, QUICK_PAIRS if options.quick else options.pairs)
        before = cpu_ms(bench.pid)
        rate = _burst(bench)
        spent = cpu_ms(bench.pid) - before
        bare_rate = bare.burst(RUN, BURST, THREADS)
    print(f"{'figure':<18}{'median':>10}{'least':>10}{'most':>10}   load {os.getloadavg()[0]:.1f}")
    for name, values in figures.items():
        print(f"{name:<18}{statistics.median(values):>10.3f}{min(values):>10.3f}{max(values):>10.3f}")
    print(f"burst of {BURST}: {rate:.1f} jobs/s, target {TARGET_JOBS_PER_SECOND:g}; bare launches: {bare_rate:.1f}/s")
    print("CPU ms a job of it:", ", ".join(f"{part} {value}" for part, value in per_job_ms(spent, BURST).items()))
    medians = {name: round(statistics.median(values), 3) for name, values in figures.items()}
    ratio = max(TARGET_JOBS_PER_SECOND / rate, *(medians[name] / target for name, target in TARGETS.items()))
    figure = {**medians, "jobs_per_second": round(rate, 1), "bare_per_second": round(bare_rate, 1)}
    print(json.dumps({"name": "submit_to_finish", "ratio": round(ratio, 3), "target": 1.0, **figure}))


class RayJobs:
    """Ray's Job API behind two pipes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, command: str) -> float:
        """Milliseconds from submission to success."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())


@contextmanager
def _ray() -> Iterator[RayJobs]:
    with subprocess.Popen(
        RAY_JOBS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline().strip() != "ready":
                sys.exit("Ray did not start")
            yield RayJobs(process)
            # It clears its folder away when nothing more is asked.
            process.communicate(timeout=RAY_END_SECONDS)
        finally:
            process.kill()


def _warm_up(bench: BenchMarket, bare: BareLauncher, ray: RayJobs) -> None:
    """The pool is ready once a job has ended on it."""
    until(lambda: _submitted(bench))
    for _ in range(3):
        _market_job(bench)
        bare.run(RUN, warm=True)
    ray.run(RUN)


def _submitted(bench: BenchMarket) -> bool | None:
    try:
        job = bench.sdk.submit(SPEC)
    except MarketError:
        return None  # The node is not listed yet.
    bench.sdk.wait(job.job_id, timeout_seconds=WAIT_SECONDS)
    return True


def _market_job(bench: BenchMarket) -> tuple[float, float]:
    """Milliseconds until the SDK saw the job finished, and seconds from then until it was billed."""
    began = time.monotonic()
    job = bench.sdk.submit(SPEC)
    final = bench.sdk.wait(job.job_id, timeout_seconds=WAIT_SECONDS, billed=False)
    finished = time.monotonic()
    if final.exit_code != 0:
        sys.exit(f"{job.job_id}: {final.reason} {final.detail}")
    bench.sdk.wait(job.job_id, timeout_seconds=WAIT_SECONDS)
    return (finished - began) * 1000, time.monotonic() - finished


def _pairs(bench: BenchMarket, bare: BareLauncher, ray: RayJobs, count: int) -> dict[str, list[float]]:
    """Each pair: some jobs of the market, as many bare launches, one of Ray's; which side goes first alternates."""
    figures: dict[str, list[float]] = {}
    for number in range(count):
        if number % 2:
            ray_ms, (bare_ms, cold_ms) = ray.run(RUN), _bare(bare)
            jobs = [_market_job(bench) for _ in range(JOBS_A_PAIR)]
        else:
            jobs = [_market_job(bench) for _ in range(JOBS_A_PAIR)]
            (bare_ms, cold_ms), ray_ms = _bare(bare), ray.run(RUN)
        market_ms = _median([job[0] for job in jobs])
        pair = {
            "market_ms": market_ms,
            "bare_ms": bare_ms,
            "cold_bare_ms": cold_ms,
            "ray_ms": ray_ms,
            "billed_s": max(job[1] for job in jobs),
            "against_ray": market_ms / ray_ms,
            "against_bare": market_ms / bare_ms,
            "against_cold_bare": market_ms / cold_ms,
        }
        for name, value in pair.items():
            figures.setdefault(name, []).append(value)
    return figures


def _bare(bare: BareLauncher) -> tuple[float, float]:
    """Milliseconds of a launch that finds a nursery, as the market's own do, and of one with nothing made ready."""
    warm = [bare.run(RUN, warm=True) for _ in range(JOBS_A_PAIR)]
    return _median(warm), _median([bare.run(RUN) for _ in range(JOBS_A_PAIR)])


def _median(values: Sequence[float]) -> float:
    return statistics.median(values)


def _burst(bench: BenchMarket) -> float:
    """Jobs a second from the first submission until the SDK has seen the last one finished."""

    def run(_: int) -> None:
        job = bench.sdk.submit(SPEC)
        bench.sdk.wait(job.job_id, timeout_seconds=WAIT_SECONDS, billed=False)

    began = time.monotonic()
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(run, range(BURST)))
    return BURST / (time.monotonic() - began)


if __name__ == "__main__":
    main()
