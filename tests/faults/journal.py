"""A load generator that keeps a journal of (key, intent, acknowledgement), and compares it with the database after."""

import asyncio
import secrets
from dataclasses import dataclass, field
from typing import Any

import httpx

from market.customer_api import IDEMPOTENCY_HEADER

RETRY_SECONDS = 0.05
SPEC: dict[str, Any] = {
    "run": "true",
    "resources": {"gpu": 1, "cpu": 1, "memory": "1GB", "disk": "1GB"},
    "max_duration": "10m",
}


@dataclass(slots=True)
class Entry:
    """One intent. acknowledged: the jobs that were named in answers, which must be one and the same."""

    key: str
    name: str
    acknowledged: set[str] = field(default_factory=set)
    tries: int = 0


class Journal:
    """What one organization wanted and was told."""

    def __init__(self, url: str, token: str) -> None:
        self.spec = SPEC
        self.entries: list[Entry] = []
        self.refused = 0
        """Requests with a used key and another body that were refused."""
        self.unexpected: list[str] = []
        limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
        headers = {"Authorization": f"Bearer {token}"}
        self._http = httpx.AsyncClient(base_url=url, headers=headers, timeout=20, limits=limits)

    @property
    def job_ids(self) -> set[str]:
        return {job_id for entry in self.entries for job_id in entry.acknowledged}

    async def submit(self, count: int, *, callers: int = 1, at_once: int = 50) -> None:
        """That many intents, each by so many callers with one key, until every caller was told."""
        slots = asyncio.Semaphore(at_once)

        async def intend() -> None:
            entry = Entry(secrets.token_hex(12), f"job-{secrets.token_hex(6)}")
            self.entries.append(entry)
            async with slots:
                await asyncio.gather(*(self.ask(entry) for _ in range(callers)))

        await asyncio.gather(*(intend() for _ in range(count)))

    async def ask(self, entry: Entry) -> None:
        """One caller: the same request again and again, until it is acknowledged."""
        while True:
            answer = await self._post(entry.key, {**self.spec, "name": entry.name})
            entry.tries += 1
            if answer is not None and answer.status_code == 201:
                entry.acknowledged.add(answer.json()["job_id"])
                return
            if answer is not None and answer.status_code not in (409, 429, 503):
                self.unexpected.append(f"{answer.status_code} {answer.text[:300]}")
                return
            await asyncio.sleep(RETRY_SECONDS)

    async def abuse(self, entry: Entry) -> None:
        """A used key with another body."""
        answer = None
        while answer is None or answer.status_code in (409, 503):
            answer = await self._post(entry.key, {**SPEC, "name": "another"})
        if answer.status_code == 422 and answer.json()["code"] == "idempotency_key_reused":
            self.refused += 1

    async def close(self) -> None:
        await self._http.aclose()

    async def _post(self, key: str, spec: dict[str, Any]) -> httpx.Response | None:
        try:
            return await self._http.post("/v1/jobs", json={"spec": spec}, headers={IDEMPOTENCY_HEADER: key})
        except httpx.TransportError:
            return None
