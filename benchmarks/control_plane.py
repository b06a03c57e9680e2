"""How soon the market alone finishes a job, and how many a second (issue 3: control plane, without Ray).

Everything is as in production and durable; only the agents are doubles that answer at once. Finished means: the agent
was answered that the attempt's end is committed. Medians over rounds, each one-by-one jobs and then a burst.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.cpu import cpu_ms, per_job_ms
from benchmarks.keepalive import KeepAlive
from benchmarks.markets import BenchMarket, running, until
from market.states import JobState

ROUNDS, SINGLES, BURST, NODES = 7, 40, 200, 20
CONNECTIONS = 50
WARM_UP_BURSTS = 2
JOB_SECONDS_MAX = 30.0
TARGET_P50_MS, TARGET_JOBS_PER_SECOND = 20.0, 800.0
SPEC = {
    "run": "true",
    "resources": {"gpu": "1", "cpu": 1, "memory": "1GB", "disk": "1GB"},
    "budget": {"max_price": "0.5"},
    "max_duration": "5m",
}


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one market: per round the median latency, the burst's rate, and CPU milliseconds a job by part in bursts."""

    p50_ms: list[float]
    jobs_per_second: list[float]
    billed_s: list[float]
    cpu_ms: dict[str, float]


def main() -> None:
    """Print a row per figure and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--quick", action="store_true", help="two rounds: to see that it works")
    options = parser.parse_args()
    figures = measure(2 if options.quick else options.rounds)
    show(figures)
    p50, rate = statistics.median(figures.p50_ms), statistics.median(figures.jobs_per_second)
    ratio = max(p50 / TARGET_P50_MS, TARGET_JOBS_PER_SECOND / rate)
    answer = {"p50_ms": round(p50, 2), "jobs_per_second": round(rate, 1)}
    print(json.dumps({"name": "control_plane", "ratio": round(ratio, 3), "target": 1.0, **answer}))


def measure(rounds: int) -> Figures:
    """Run the rounds on a market of its own."""
    with running(with_agent=False) as bench, _doubles(bench) as doubles:
        return asyncio.run(_rounds(bench, doubles, rounds))


def show(figures: Figures) -> None:
    """The figures for people."""
    print(f"{'figure':<18}{'median':>9}{'least':>9}{'most':>9}   load {os.getloadavg()[0]:.1f}")
    for name in ("p50_ms", "jobs_per_second", "billed_s"):
        values: list[float] = getattr(figures, name)
        print(f"{name:<18}{statistics.median(values):>9.2f}{min(values):>9.2f}{max(values):>9.2f}")
    print("CPU ms a job in a burst:", ", ".join(f"{part} {value}" for part, value in figures.cpu_ms.items()))


class Doubles:
    """The process of the doubles, and the moment at which each job was over."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.ended: dict[str, int] = {}
        self._waiting: dict[str, asyncio.Future[int]] = {}

    @property
    def pid(self) -> int:
        return self._process.pid

    async def hear(self) -> None:
        """Read what they tell, for ever."""
        reader = asyncio.StreamReader()
        assert self._process.stdout is not None
        protocol = asyncio.StreamReaderProtocol(reader)
        await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, self._process.stdout)
        while line := await reader.readline():
            job_id, _, at = line.decode().partition(" ")
            self.ended[job_id] = int(at)
            if waiting := self._waiting.pop(job_id, None):
                waiting.set_result(int(at))
        sys.exit("the doubles have gone")

    async def end_of(self, job_id: str) -> int:
        """time.monotonic_ns at which the job's end was known to be durable."""
        if job_id not in self.ended:
            self._waiting[job_id] = asyncio.get_running_loop().create_future()
            return await asyncio.wait_for(self._waiting[job_id], JOB_SECONDS_MAX)
        return self.ended[job_id]


@contextmanager
def _doubles(bench: BenchMarket) -> Iterator[Doubles]:
    command = [sys.executable, "-m", "benchmarks.double", bench.address, str(NODES)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(f"{bench.join_token}\n")
            process.stdin.flush()
            if process.stdout.readline().strip() != "ready":
                sys.exit("the doubles did not start")
            yield Doubles(process)
        finally:
            process.kill()


async def _rounds(bench: BenchMarket, doubles: Doubles, rounds: int) -> Figures:
    hearing = asyncio.create_task(doubles.hear())
    host, _, port = bench.address.partition(":")
    customers = [Customer(await KeepAlive.open(host, int(port)), bench.customer_token) for _ in range(CONNECTIONS)]
    figures = Figures([], [], [], {})
    for _ in range(WARM_UP_BURSTS):
        await _burst(customers, doubles)
        _settled(bench)
    spent: Counter[str] = Counter()
    for _ in range(rounds):
        figures.p50_ms.append(statistics.median([await _single(customers[0], doubles) for _ in range(SINGLES)]))
        _settled(bench)
        before = _cpu(bench, doubles)
        rate, began = await _burst(customers, doubles)
        figures.jobs_per_second.append(rate)
        _settled(bench)
        figures.billed_s.append(time.monotonic() - began)
        spent.update({part: value - before[part] for part, value in _cpu(bench, doubles).items()})
    figures.cpu_ms.update(per_job_ms(Counter(), spent, rounds * BURST))
    hearing.cancel()
    for customer in customers:
        customer.close()
    return figures


class Customer:
    """Somebody who submits over one connection."""

    def __init__(self, connection: KeepAlive, token: str) -> None:
        self._connection = connection
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._body = json.dumps({"spec": SPEC}).encode()

    async def submit(self) -> str:
        headers = self._headers | {"Idempotency-Key": os.urandom(16).hex()}
        job: dict[str, Any] = await self._connection.request("POST", "/v1/jobs", self._body, headers)
        return str(job["job_id"])

    def close(self) -> None:
        self._connection.close()


async def _single(customer: Customer, doubles: Doubles) -> float:
    """Milliseconds from the request to the durable end of one job."""
    began = time.monotonic_ns()
    ended = await doubles.end_of(await customer.submit())
    return (ended - began) / 1e6


async def _burst(customers: list[Customer], doubles: Doubles) -> tuple[float, float]:
    """Jobs a second from the first request to the last durable end, and when (time.monotonic) it began."""
    share = BURST // len(customers)

    async def submit(customer: Customer) -> list[str]:
        return [await customer.submit() for _ in range(share)]

    began = time.monotonic_ns()
    submitted = await asyncio.gather(*(submit(customer) for customer in customers))
    ended = [await doubles.end_of(job_id) for job_ids in submitted for job_id in job_ids]
    return len(ended) / ((max(ended) - began) / 1e9), began / 1e9


def _settled(bench: BenchMarket) -> None:
    """Wait until every hold is settled, so that rounds do not bleed into each other; no job may have gone wrong."""
    until(lambda: int(bench.sdk.balance().held.microusd) == 0 or None)
    for job in bench.sdk.jobs(states=[JobState.FAILED, JobState.STOPPED]):
        sys.exit(f"{job.job_id}: {job.reason} {job.detail}")


def _cpu(bench: BenchMarket, doubles: Doubles) -> Counter[str]:
    return cpu_ms(bench.pid) + cpu_ms(doubles.pid)


if __name__ == "__main__":
    main()
