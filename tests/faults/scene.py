"""One test's market: an organization with money, nodes that work, a journal; and what must hold of the rows after."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from concurrent.futures import Future
from datetime import timedelta
from threading import Thread
from typing import Any, TypeVar

from agents import Agent
from journal import Journal
from plane import ControlPlane, until
from solders.keypair import Keypair
from sqlalchemy import text

from billing.ledger import audit
from billing.treasury import deposits
from billing.treasury.arrivals import Arrival
from billing.treasury.custody import Custody
from infra.database import Database
from market.clock import SystemClock
from portal_api.identity import tokens
from portal_api.identity.bootstrap import create_organization
from portal_api.identity.tokens import Role, TokenKind
from scheduler.supply import providers

Result = TypeVar("Result")
DEPOSIT_MICROUSD = 10_000_000_000
SETTLED_SECONDS = 120.0

_JOBS = """
SELECT j.name, j.id, j.state, j.attempts_placed,
  (SELECT count(*) FROM holds h WHERE h.job_id = j.id AND h.window_number = 0) AS first_holds
FROM jobs j WHERE j.organization_id = :owner"""
_OPEN = """
SELECT (SELECT count(*) FROM jobs WHERE organization_id = :owner AND ended_at IS NULL)
  + (SELECT count(*) FROM holds WHERE organization_id = :owner AND settled_at IS NULL)"""
# No database constraint is trusted here: two leases of one GPU may not even touch the same instant.
OVERLAPS = """
SELECT count(*) FROM lease_gpus a JOIN lease_gpus b ON a.gpu_id = b.gpu_id AND a.lease_id < b.lease_id
JOIN leases x ON x.id = a.lease_id JOIN leases y ON y.id = b.lease_id
WHERE tstzrange(x.granted_at, a.released_at) && tstzrange(y.granted_at, b.released_at)"""
_LINES = """
SELECT lease_id, max(to_ms) AS run_ms, count(*) AS lines, count(DISTINCT window_number) AS windows
FROM usage_lines WHERE organization_id = :owner GROUP BY lease_id"""


class Scene:
    """Everything that talks to the portal does so from a thread of its own, while the test kills and tends."""

    def __init__(self, plane: ControlPlane, *, nodes: int = 3, run_seconds: float = 0.3) -> None:
        self.plane, self.database = plane, Database(plane.database.url, pool_size=3)
        self.now = SystemClock().now
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.owner, token, join_token = self._people()
        self.token = token
        self.journal = Journal(plane.url, token)
        self.agents = [
            self.run(Agent.join(plane.url, join_token, number, run_seconds)).result(30) for number in range(nodes)
        ]
        self._acting = [self.run(agent.act()) for agent in self.agents]
        self.plane.until(lambda: self.count("SELECT count(*) FROM nodes WHERE pool = 'ready'") >= nodes, 30, "nodes")

    def run(self, work: Coroutine[Any, Any, Result]) -> "Future[Result]":
        """Begin it beside the test."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def tended(self, work: Coroutine[Any, Any, Result], seconds: float = 60.0) -> Result:
        """Its result; meanwhile what dies is started again."""
        future = self.run(work)
        self.plane.until(future.done, seconds, "what was begun")
        return future.result()

    def count(self, query: str, **values: Any) -> int:
        with self.database.read() as session:
            return int(session.scalar(text(query), {"owner": self.owner, **values}) or 0)

    def open_jobs(self) -> int:
        return self.count("SELECT count(*) FROM jobs WHERE organization_id = :owner AND ended_at IS NULL")

    def placed(self) -> int:
        return self.count("SELECT sum(attempts_placed) FROM jobs WHERE organization_id = :owner")

    def settle(self, seconds: float = SETTLED_SECONDS) -> None:
        """Until every job of the organization has ended and is billed."""
        self.plane.until(self._over, seconds, "the end of every job and its bill")
        runs = [run for agent in self.agents for run in agent.runs.values()]
        told = lambda: all(run.durable == len(run.readings) for run in runs)  # noqa: E731
        self.plane.until(told, 30, "every node's knowledge that its readings are safe")

    def check(self, *, attempts_max: int = 1) -> None:
        """The journal, the nodes and the ledger agree: nothing lost, nothing twice, every sum exact."""
        with self.database.read() as session:
            jobs = session.execute(text(_JOBS), {"owner": self.owner}).all()
            lines = session.execute(text(_LINES), {"owner": self.owner}).all()
            broken = audit.check(session)
        assert self.journal.unexpected == []
        names = Counter(job.name for job in jobs)
        assert names == Counter(entry.name for entry in self.journal.entries), "a job for each distinct key, and one"
        by_name = {job.name: job.id for job in jobs}
        for entry in self.journal.entries:
            assert entry.acknowledged == {by_name[entry.name]}, "what was acknowledged is there, under one id"
        assert {job.first_holds for job in jobs} <= set(range(1, attempts_max + 1))
        assert {job.state for job in jobs} == {"succeeded"}
        assert max(job.attempts_placed for job in jobs) <= attempts_max
        assert self.count(OVERLAPS) == 0, "no GPU was leased twice at a time"
        starts = sum((agent.starts for agent in self.agents), Counter[str]())
        assert max(starts.values()) <= attempts_max
        runs = {run.lease_id: run for agent in self.agents for run in agent.runs.values()}
        assert {line.lease_id: line.run_ms for line in lines} == {
            lease_id: run.run_ms for lease_id, run in runs.items() if run.job_id in self.journal.job_ids
        }, "every run is billed to the millisecond, once"
        assert all(line.lines == line.windows for line in lines)
        assert broken == []

    def close(self) -> None:
        """The nodes go; nothing is placed on them any more, whatever of theirs is still on its way to the portal."""
        self.run(self._end()).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        with self.database.transaction() as session:
            session.execute(text("UPDATE offers SET ended_at = now() WHERE ended_at IS NULL"))
            session.execute(text("UPDATE nodes SET revision = revision + 1"))
        self.database.dispose()

    def _over(self) -> bool:
        for acting in self._acting:
            if acting.done():
                acting.result()
        return self.count(_OPEN) == 0

    async def _end(self) -> None:
        """Cancel whatever still runs beside the test."""
        running = asyncio.all_tasks() - {asyncio.current_task()}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self.journal.close()

    def _people(self) -> tuple[str, str, str]:
        """An organization with money and its token, and a provider's join token."""
        now = self.now()
        with self.database.transaction() as session:
            owner = create_organization(session, "acme", now).id
            token = tokens.issue(
                session, TokenKind.CUSTOMER, now, name="t", organization_id=owner, role=Role.OWNER
            ).text
            deposit = deposits.request(session, owner, DEPOSIT_MICROUSD, now, to=_custody())
            arrived = Arrival(f"signature of {deposit.deposit_id}", 0, deposit.amount_microusd)
            deposits.credit(session, deposit.deposit_id, [arrived], now)
            # There is no chain here for the worker to look at.
            session.execute(text("UPDATE deposits SET next_check_at = next_check_at + interval '1 day'"))
            provider = providers.create(session, "provider", now).id
            expires = now + timedelta(days=1)
            join = tokens.issue(session, TokenKind.JOIN, now, name="j", provider_id=provider, expires_at=expires).text
        return owner, token, join


def _custody() -> Custody:
    return Custody(Keypair(), str(Keypair().pubkey()))


__all__ = ["OVERLAPS", "Scene", "until"]
