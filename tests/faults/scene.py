"""One test's market: an organization with money, nodes that work, a journal; and what must hold of the rows after."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from dataclasses import asdict, dataclass
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
_STALE = """
SELECT count(*) FROM leases l JOIN jobs j ON j.id = l.job_id
WHERE j.organization_id = :owner AND j.ended_at IS NOT NULL AND l.released_at IS NULL"""
_LINES = """
SELECT lease_id, max(to_ms) AS run_ms, count(*) AS lines, count(DISTINCT window_number) AS windows
FROM usage_lines WHERE organization_id = :owner GROUP BY lease_id"""


@dataclass(frozen=True, slots=True)
class Figures:
    """What a test found of its market. All but jobs must be 0.

    double: a key with two jobs, or a job with two first holds; stale_writes: attempts beyond the one that a job needs,
    or GPUs that an ended attempt still holds; misbilled: runs that are not billed once and to the millisecond.
    """

    jobs: int
    lost: int = 0
    double: int = 0
    started_again: int = 0
    overlaps: int = 0
    stale_writes: int = 0
    not_succeeded: int = 0
    misbilled: int = 0
    broken_invariants: int = 0


class Scene:
    """Everything that talks to the portal does so from a thread of its own, while the test kills and tends.

    note: takes the figures of each check.
    """

    def __init__(
        self,
        plane: ControlPlane,
        note: Callable[[dict[str, object]], None],
        *,
        nodes: int = 3,
        run_seconds: float = 0.3,
    ) -> None:
        self._note, self._began = note, time.monotonic()
        self.plane, self.database = plane, Database(plane.database.url, pool_size=3)
        self.now = SystemClock().now
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.owner, self.token, self.join_token = self._people()
        self.journal = Journal(plane.url, self.token)
        self.agents = [
            self.run(Agent.join(plane.url, self.join_token, number, run_seconds)).result(30) for number in range(nodes)
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

    def unplaced(self) -> int:
        return self.count("SELECT count(*) FROM jobs WHERE organization_id = :owner AND attempts_placed = 0")

    def placed(self) -> int:
        return self.count("SELECT sum(attempts_placed) FROM jobs WHERE organization_id = :owner")

    def settle(self, seconds: float = SETTLED_SECONDS) -> None:
        """Until every job of the organization has ended and is billed."""
        self.plane.until(self._over, seconds, "the end of every job and its bill")
        runs = [run for agent in self.agents for run in agent.runs.values()]
        told = lambda: all(run.durable == len(run.readings) for run in runs)  # noqa: E731
        self.plane.until(told, 30, "every node's knowledge that its readings are safe")

    def check(self, *, attempts_max: int = 1, **noted: object) -> None:
        """The journal, the nodes and the ledger agree: nothing lost, nothing twice, every sum exact."""
        figures = self.figures(attempts_max)
        self._note({**noted, **asdict(figures), "seconds": round(time.monotonic() - self._began, 1)})
        assert self.journal.unexpected == []
        assert figures == Figures(jobs=len(self.journal.entries))

    def figures(self, attempts_max: int) -> Figures:
        with self.database.read() as session:
            jobs = session.execute(text(_JOBS), {"owner": self.owner}).all()
            lines = session.execute(text(_LINES), {"owner": self.owner}).all()
            broken = audit.check(session)
        kept, names = {job.id for job in jobs}, Counter(job.name for job in jobs)
        starts = sum((agent.starts for agent in self.agents), Counter[str]())
        runs = {run.lease_id: run.run_ms for agent in self.agents for run in agent.runs.values() if run.job_id in kept}
        billed = {line.lease_id: line.run_ms for line in lines}
        return Figures(
            jobs=len(jobs),
            lost=sum(not entry.acknowledged <= kept or names[entry.name] == 0 for entry in self.journal.entries),
            double=sum(count - 1 for count in names.values())
            + sum(len(entry.acknowledged) > 1 for entry in self.journal.entries)
            + sum(not 1 <= job.first_holds <= attempts_max for job in jobs),
            started_again=sum(count > attempts_max for count in starts.values()),
            overlaps=self.count(OVERLAPS),
            stale_writes=sum(job.attempts_placed > attempts_max for job in jobs) + self.count(_STALE),
            not_succeeded=sum(job.state != "succeeded" for job in jobs),
            misbilled=len(billed.items() ^ runs.items()) + sum(line.lines != line.windows for line in lines),
            broken_invariants=len(broken),
        )

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
