"""A market without machines: its doubles, its customers, and rounds of jobs through it."""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.cpu import cpu_ms
from benchmarks.keepalive import KeepAlive
from benchmarks.markets import BenchMarket, until
from market.states import JobState

SINGLES, BURST, NODES = 40, 200, 20
WARM_UP_BURSTS = 2
JOB_SECONDS_MAX = 30.0
SPEC = {
    "run": "true",
    "resources": {"gpu": "1", "cpu": 1, "memory": "1GB", "disk": "1GB"},
    "budget": {"max_price": "0.5"},
    "max_duration": "5m",
}


@dataclass(frozen=True, slots=True)
class Round:
    """Jobs one by one, then a burst. billed_s: from the burst's first request until every hold was settled.

    burst_cpu_ms: of the market's parts and of the doubles, until the burst's last end was durable.
    """

    p50_ms: float
    jobs_per_second: float
    billed_s: float
    burst_cpu_ms: Counter[str]


class Doubles:
    """The process of the doubles, and the moment at which each job was over."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._ended: dict[str, int] = {}
        self._waiting: dict[str, asyncio.Future[int]] = {}

    @property
    def pid(self) -> int:
        return self._process.pid

    async def hear(self) -> None:
        """Read what they tell, for ever."""
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            job_id, _, at = line.decode().partition(" ")
            self._ended[job_id] = int(at)
            if waiting := self._waiting.pop(job_id, None):
                waiting.set_result(int(at))
        sys.exit("the doubles have gone")

    async def end_of(self, job_id: str) -> int:
        """time.monotonic_ns at which the job's end was known to be durable."""
        if job_id not in self._ended:
            self._waiting[job_id] = asyncio.get_running_loop().create_future()
            await asyncio.wait_for(self._waiting[job_id], JOB_SECONDS_MAX)
        return self._ended.pop(job_id)


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


class Stand:
    """One market with everybody in it."""

    def __init__(self, bench: BenchMarket, doubles: Doubles, customers: list[Customer]) -> None:
        self._bench, self._doubles, self._customers = bench, doubles, customers

    @classmethod
    @asynccontextmanager
    async def on(cls, bench: BenchMarket) -> AsyncIterator["Stand"]:
        """Doubles that are listed, customers that are connected, everything warm."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.double", bench.address, str(NODES),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        host, _, port = bench.address.partition(":")
        customers: list[Customer] = []
        try:
            process.stdin.write(f"{bench.join_token}\n".encode())
            if await process.stdout.readline() != b"ready\n":
                sys.exit("the doubles did not start")
            doubles = Doubles(process)
            hearing = asyncio.create_task(doubles.hear())
            for _ in range(BURST):
                customers.append(Customer(await KeepAlive.open(host, int(port)), bench.customer_token))
            stand = cls(bench, doubles, customers)
            for _ in range(WARM_UP_BURSTS):
                await stand.burst()
                stand.settle()
            yield stand
            hearing.cancel()
        finally:
            for customer in customers:
                customer.close()
            process.kill()
            await process.wait()

    async def round(self) -> Round:
        p50_ms = statistics.median([await self.single() for _ in range(SINGLES)])
        self.settle()
        began, before = time.monotonic(), self._cpu_ms()
        rate = await self.burst()
        spent = self._cpu_ms() - before
        self.settle()
        return Round(p50_ms, rate, time.monotonic() - began, spent)

    async def single(self) -> float:
        """Milliseconds from the request to the durable end of one job."""
        began = time.monotonic_ns()
        ended = await self._doubles.end_of(await self._customers[0].submit())
        return (ended - began) / 1e6

    async def burst(self) -> float:
        """Jobs a second from the first request to the last durable end."""
        began = time.monotonic_ns()
        submitted = await asyncio.gather(*(customer.submit() for customer in self._customers))
        ended = [await self._doubles.end_of(job_id) for job_id in submitted]
        return len(ended) / ((max(ended) - began) / 1e9)

    def settle(self) -> None:
        """Wait until every hold is settled, so that rounds do not bleed into each other; no job may have gone wrong."""
        until(lambda: int(self._bench.sdk.balance().held.microusd) == 0 or None)
        for job in self._bench.sdk.jobs(states=[JobState.FAILED, JobState.STOPPED]):
            sys.exit(f"{job.job_id}: {job.reason} {job.detail}")

    def _cpu_ms(self) -> Counter[str]:
        """CPU time of the market's parts and of the doubles, so far."""
        return cpu_ms(self._bench.pid) + cpu_ms(self._doubles.pid)
