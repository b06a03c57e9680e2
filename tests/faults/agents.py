"""Nodes that are test doubles: they join, poll and report over the real agent API, patiently, and keep what they did.

Every attempt runs for a moment and ends well. Statuses are said until they are accepted and readings until they are
durable, as a real agent does; what each attempt's readings came to is kept, to be compared with the bill.
"""

import asyncio
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx

from market.agent_api import SIGNATURE_HEADER
from market.canonical import canonical_json
from market.reading_runs import runs_of
from market.readings import GENESIS, Reading
from market.signing import JOIN_TAG, REPORT_TAG, NodeKey

GPUS_A_NODE = 4
MODEL = "NVIDIA H100"
RETRY_SECONDS = 0.1
REPEAT_SECONDS = 2.0
PACE_SECONDS = 0.05


@dataclass(slots=True)
class Run:
    """One attempt on a node. readings: all of them, chained; durable: how many billing has."""

    attempt_id: str
    job_id: str
    lease_id: str
    stream_id: str = field(default_factory=lambda: secrets.token_hex(16))
    readings: list[Reading] = field(default_factory=list)
    log: bytes = b""
    durable: int = 0
    ended: bool = False
    accepted: bool = False

    @property
    def run_ms(self) -> int:
        return self.readings[-1].run_ms if self.readings else 0

    def read(self, run_ms: int, *, final: bool = False) -> None:
        last = self.readings[-1] if self.readings else None
        self.readings.append(
            Reading(
                lease_id=self.lease_id,
                stream_id=self.stream_id,
                sequence=len(self.readings) + 1,
                run_ms=run_ms,
                taken_at_ms=0,
                final=final,
                previous_hash=last.hash if last else GENESIS,
            )
        )


class Agent:
    """One node. runs: every attempt it ever ran, by id; starts: how often each job was started here."""

    def __init__(self, url: str, key: NodeKey, node: dict[str, Any], run_seconds: float) -> None:
        self.url, self.headers = url, {"Authorization": f"Bearer {node['token']}"}
        self._http = httpx.AsyncClient(base_url=url, headers=self.headers, timeout=30)
        self.key, self.node_id, self._run_seconds = key, str(node["node_id"]), run_seconds
        self.runs: dict[str, Run] = {}
        self.starts: Counter[str] = Counter()
        self.boot_id = "boot"
        self._tasks: set[asyncio.Task[None]] = set()
        self._due: dict[str, float] = {}

    @classmethod
    async def join(cls, url: str, join_token: str, number: int, run_seconds: float) -> "Agent":
        key = NodeKey.generate()
        body = {
            "public_key": key.public_hex,
            "possession": key.sign(JOIN_TAG, join_token.encode()),
            "name": f"double-{number}",
            "inventory": inventory(number),
            "price_microusd_per_gpu_hour": 3_600_000,
        }
        async with httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {join_token}"}) as http:
            answer = await http.post("/agent/v1/nodes", json=body, timeout=20)
        assert answer.status_code == 201, answer.text
        return cls(url, key, answer.json(), run_seconds)

    async def act(self) -> None:
        """For ever, whatever becomes of the portal."""
        async with self._http:
            await asyncio.gather(self._poll(), self._report())

    async def _poll(self) -> None:
        seen = 0
        while True:
            body = {"boot_id": self.boot_id, "seen_version": seen, "wait_seconds": 20, "pool": "ready"}
            body["streams"] = [run.stream_id for run in self.runs.values() if run.durable < len(run.readings)][:1000]
            answer = await self._ask("/agent/v1/poll", json=body)
            if answer is None:
                continue
            seen = answer["version"]
            self._settle(answer["durable_through"])
            for item in answer["attempts"]:
                if item["attempt_id"] not in self.runs and item["action"] == "run":
                    self._start(Run(item["attempt_id"], item["job_id"], item["lease_id"]))

    def _start(self, run: Run) -> None:
        self.runs[run.attempt_id] = run
        self.starts[run.job_id] += 1
        task = asyncio.create_task(self._live(run))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _live(self, run: Run) -> None:
        began = time.monotonic()
        for final in (False, False, True):
            await asyncio.sleep(self._run_seconds / 3)
            run.read(int((time.monotonic() - began) * 1000), final=final)
            await self._log(run, f"reading {len(run.readings)}\n".encode())
        run.ended = True

    async def _log(self, run: Run, line: bytes) -> None:
        """Ship the line; the portal says how far its copy reaches."""
        run.log += line
        copied = len(run.log) - len(line)
        while copied < len(run.log):
            path = f"/agent/v1/attempts/{run.attempt_id}/log?offset={copied}"
            answer = await self._ask(path, "PUT", content=run.log[copied:])
            copied = answer["next_offset"] if answer else copied

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(PACE_SECONDS)
            now = time.monotonic()
            waiting = [run for run in self.runs.values() if not run.accepted or run.durable < len(run.readings)]
            due = [run for run in waiting if self._news(run, now)][:60]
            if not due:
                continue
            statuses = [_status(run) for run in due if not run.accepted]
            runs = [part.model_dump() for run in due for part in runs_of(run.readings[run.durable :])]
            report = {"node_id": self.node_id, "sent_at_ms": 0, "statuses": statuses, "runs": runs}
            body = canonical_json(report)
            told = {run.attempt_id: run.ended for run in due}
            headers = {SIGNATURE_HEADER: self.key.sign(REPORT_TAG, body)}
            answer = await self._ask("/agent/v1/reports", content=body, headers=headers)
            if answer is None:
                continue
            for attempt_id in answer["accepted"]:
                self.runs[attempt_id].accepted |= told.get(attempt_id, False)
            self._settle(answer["durable_through"])
            for run in due:
                self._due[f"{run.attempt_id}:{len(run.readings)}"] = now + REPEAT_SECONDS

    def _news(self, run: Run, now: float) -> bool:
        """Something that was not said yet, or said a while ago in vain."""
        return self._due.get(f"{run.attempt_id}:{len(run.readings)}", 0) <= now

    def _settle(self, durable_through: dict[str, int]) -> None:
        for run in self.runs.values():
            run.durable = max(run.durable, durable_through.get(run.stream_id, 0))

    async def _ask(self, path: str, method: str = "POST", **request: Any) -> Any:
        """The answer; None after a rest when there was none, or a refusal."""
        try:
            answer = await self._http.request(method, path, **request)
        except httpx.TransportError:
            await asyncio.sleep(RETRY_SECONDS)
            return None
        if answer.status_code == 200:
            return answer.json()
        assert answer.status_code in (429, 503), f"{path}: {answer.status_code} {answer.text}"
        await asyncio.sleep(RETRY_SECONDS)
        return None


def _status(run: Run) -> dict[str, Any]:
    if not run.ended:
        return {"attempt_id": run.attempt_id, "state": "running"}
    return {"attempt_id": run.attempt_id, "state": "exited", "reason": "succeeded", "exit_code": 0}


def inventory(number: int) -> dict[str, Any]:
    mark = secrets.token_hex(8)
    return {
        "hostname": f"double-{number}",
        "cpu_milli": 64_000,
        "memory_bytes": 256 * 10**9,
        "disk_bytes": 10**12,
        "gpus": [
            {"uuid": f"GPU-{mark}-{index}", "index": index, "model": MODEL, "memory_bytes": 80 * 10**9}
            for index in range(GPUS_A_NODE)
        ],
        "sandbox": "bubblewrap",
        "agent_version": "double",
    }
