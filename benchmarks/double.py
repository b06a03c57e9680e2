"""Agents that have no machine: they join, poll and report as real ones do, and finish every attempt at once.

`python -m benchmarks.double HOST:PORT NODES` takes the join token from its standard input, writes `ready`, and then a
line for each job: its id, and when the portal had answered that its end is durable (time.monotonic_ns). It acts
until it is killed.
"""

import asyncio
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.keepalive import KeepAlive, Refused
from market.agent_api import SIGNATURE_HEADER
from market.canonical import canonical_json, tagged_hash
from market.readings import GENESIS
from market.signing import JOIN_TAG, REPORT_TAG, NodeKey

GPUS_A_NODE = 16
MODEL, MEMORY_BYTES = "NVIDIA GeForce RTX 4090", 24 * 2**30
WAIT_SECONDS = 20
RUN_MS = 1
BUSY, AGAIN_SECONDS, TRIES_MAX = 503, 0.2, 50
"""What is refused because the market is busy is asked again, as real agents do."""


def main() -> None:
    """Read the token and act."""
    address, nodes = sys.argv[1], int(sys.argv[2])
    host, _, port = address.partition(":")
    asyncio.run(_act(host, int(port), nodes, sys.stdin.readline().strip()))


async def _act(host: str, port: int, count: int, join_token: str) -> None:
    doubles = [await Double.join(host, port, join_token, number) for number in range(count)]
    async with asyncio.TaskGroup() as acting:
        for double in doubles:
            acting.create_task(double.act())
        for double in doubles:
            await double.polling.wait()
        print("ready", flush=True)


class Double:
    """One node: a connection for its long poll, another for its reports."""

    def __init__(self, polls: KeepAlive, reports: KeepAlive, key: NodeKey, node: dict[str, Any]) -> None:
        self._polls, self._reports, self._key = polls, reports, key
        self.node_id = str(node["node_id"])
        self._headers = {"Authorization": f"Bearer {node['token']}", "Content-Type": "application/json"}
        self._ended: set[str] = set()
        self._reporting: set[asyncio.Task[None]] = set()
        self._one_report = asyncio.Lock()
        self.polling = asyncio.Event()

    @classmethod
    async def join(cls, host: str, port: int, join_token: str, number: int) -> "Double":
        key = NodeKey.generate()
        polls, reports = await KeepAlive.open(host, port), await KeepAlive.open(host, port)
        body = {
            "public_key": key.public_hex,
            "possession": key.sign(JOIN_TAG, join_token.encode()),
            "name": f"double-{number}",
            "inventory": _inventory(number),
        }
        headers = {"Authorization": f"Bearer {join_token}", "Content-Type": "application/json"}
        return cls(polls, reports, key, await reports.request("POST", "/agent/v1/nodes", canonical_json(body), headers))

    async def act(self) -> None:
        """Poll for ever; whatever is to be run has run already."""
        version = 0
        while True:
            poll = {
                "boot_id": "double",
                "seen_version": version,
                "wait_seconds": WAIT_SECONDS,
                "pool": "ready",
                "streams": [],
            }
            answer = await _asked(self._polls, "/agent/v1/poll", canonical_json(poll), self._headers)
            version = answer["version"]
            self.polling.set()
            wanted = {item["attempt_id"] for item in answer["attempts"]}
            self._ended &= wanted
            fresh = [item for item in answer["attempts"] if item["attempt_id"] not in self._ended]
            if fresh:
                self._ended |= wanted
                task = asyncio.create_task(self._report(fresh))
                self._reporting.add(task)
                task.add_done_callback(self._reporting.discard)

    @property
    def public_hex(self) -> str:
        return self._key.public_hex

    def sign(self, body: bytes) -> str:
        return self._key.sign(REPORT_TAG, body)

    async def send(self, reports: Sequence[tuple[bytes, str]]) -> None:
        """These signed bodies in their order, each once the one before it was answered."""
        for body, signature in reports:
            headers = self._headers | {SIGNATURE_HEADER: signature}
            await _asked(self._reports, "/agent/v1/reports", body, headers)

    async def _report(self, attempts: list[dict[str, Any]]) -> None:
        """Say that they have exited, with the one reading that each of them gave."""
        now_ms = time.time_ns() // 1_000_000
        body = canonical_json(
            {
                "node_id": self.node_id,
                "sent_at_ms": now_ms,
                "statuses": [
                    {"attempt_id": item["attempt_id"], "state": "exited", "reason": "succeeded", "exit_code": 0}
                    for item in attempts
                ],
                "readings": [_final_reading(item["lease_id"], now_ms) for item in attempts],
            }
        )
        headers = self._headers | {SIGNATURE_HEADER: self.sign(body)}
        async with self._one_report:
            answer = await _asked(self._reports, "/agent/v1/reports", body, headers)
        ended_at = time.monotonic_ns()
        accepted = set(answer["accepted"])
        lines = [f"{item['job_id']} {ended_at}\n" for item in attempts if item["attempt_id"] in accepted]
        sys.stdout.write("".join(lines))
        sys.stdout.flush()


async def _asked(connection: KeepAlive, path: str, body: bytes, headers: Mapping[str, str]) -> Any:
    """The answer, however busy the market is meanwhile. Raises Refused, ConnectionError."""
    for _ in range(TRIES_MAX):
        try:
            return await connection.request("POST", path, body, headers)
        except Refused as refusal:
            if refusal.status != BUSY:
                raise
            await asyncio.sleep(AGAIN_SECONDS)
    raise ConnectionError(f"{path}: the market stayed busy")


def _final_reading(lease_id: str, now_ms: int) -> dict[str, Any]:
    return {
        "lease_id": lease_id,
        "stream_id": secrets.token_hex(16),
        "sequence": 1,
        "run_ms": RUN_MS,
        "taken_at_ms": now_ms,
        "final": True,
        "previous_hash": GENESIS,
    }


def _inventory(number: int) -> dict[str, Any]:
    seed = tagged_hash("gridbay/bench/v1", str(number).encode()).hex()
    gpus = [
        {"uuid": f"GPU-{seed[:24]}-{index}", "index": index, "model": MODEL, "memory_bytes": MEMORY_BYTES}
        for index in range(GPUS_A_NODE)
    ]
    return {
        "hostname": f"double-{number}",
        "cpu_milli": 256_000,
        "memory_bytes": 512 * 10**9,
        "disk_bytes": 10**13,
        "gpus": gpus,
        "sandbox": "none",
        "agent_version": "bench",
    }


if __name__ == "__main__":
    main()
