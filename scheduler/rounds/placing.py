"""Placing rounds: load what is queued and what is free, let placement decide, apply it in the same transaction."""

import secrets
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from infra.bulk import write_changes
from infra.database import Database
from infra.outbox import wake
from infra.statements import Statement
from infra.telemetry import JOBS_LOOKED_AT, JOBS_PLACED, ROUND_SECONDS
from market.clock import Clock
from market.failpoints import failpoint
from market.states import Reason
from scheduler.placement.decisions import Unplaced
from scheduler.placement.engine import Engine
from scheduler.placement.reclaiming import Reclaim
from scheduler.placement.record.round import Came, Told
from scheduler.placement.requests import Request
from scheduler.placement.sieve import in_words
from scheduler.rounds import discounts, queueing, records
from scheduler.rounds.asking import COLUMNS, request_of_row
from scheduler.rounds.kept import KeptMarket
from scheduler.rounds.queued import Words, request_of
from scheduler.rounds.queueing import Walk
from scheduler.rounds.settling import Settling
from scheduler.tables import Job
from scheduler.waking import PLACE
from scheduler.work import leases, spot

log = structlog.get_logger(__name__)
ROUND_LOCK = 0x67726964_706C6163
"""The advisory lock that lets one round run at a time ("gridplac")."""
_ONE_AT_A_TIME = Statement("SELECT pg_advisory_xact_lock(cast(:key AS bigint))")
RUN_SECONDS_MAX = 15.0
RECENT_MAX = 256
"""The newest jobs, by which is judged what the next ones will ask for."""

_RECOVERING = (Reason.RECOVERING_PROVIDER_LOST, Reason.RECOVERING_RETRY, Reason.RECOVERING_SPOT_RECLAIMED)
_engine = Engine()
"""It keeps what it knows of the market between rounds, for speed alone; the round's lock lets one thread at it."""
market = KeptMarket()
"""The same."""


class _Recent:
    """The newest requests of before this minute, whatever became of them; ids made later sort later.

    Of before this minute, so that rounds judge by the same for a while: what the engine keeps rests on it.
    """

    def __init__(self) -> None:
        self._known: tuple[object, datetime] | None = None
        self._requests: list[Request] = []

    def of(self, session: Session, now: datetime) -> list[Request]:
        """Read once a minute."""
        minute = now.replace(second=0, microsecond=0)
        if self._known != (session.get_bind(), minute):
            query = select(*COLUMNS).where(Job.created_at < minute).order_by(Job.id.desc()).limit(RECENT_MAX)
            self._requests = [request_of_row(row) for row in session.execute(query)]
            self._known = session.get_bind(), minute
        return self._requests


_recent = _Recent()


@dataclass(frozen=True, slots=True)
class Round:
    """What one round did."""

    looked_at: int
    placed: int


def run(database: Database, clock: Clock, *, limit: int, seconds_max: float = RUN_SECONDS_MAX) -> int:
    """Go through the queue once, a round and a transaction at a time; returns how many jobs were placed.

    A queue too long for one run is left for the next one, which is asked for at once.
    """
    started, placed, walk = time.monotonic(), 0, Walk(limit)
    while True:
        with ROUND_SECONDS.time(), _forgotten_if_it_fails(), database.transaction() as session:
            outcome = place(session, clock, walk, seed=secrets.token_hex(8))
            late = time.monotonic() - started > seconds_max
            if late and not walk.done:
                wake(session, PLACE)
            failpoint("scheduler.round.published")
        failpoint("scheduler.round.committed")
        JOBS_LOOKED_AT.inc(outcome.looked_at)
        JOBS_PLACED.inc(outcome.placed)
        placed += outcome.placed
        if late or walk.done:
            return placed


@contextmanager
def _forgotten_if_it_fails() -> Iterator[None]:
    """After a round that failed nobody knows how far what is kept of the market is what the database says."""
    try:
        yield
    except BaseException:
        market.forget()
        raise


def place(session: Session, clock: Clock, walk: Walk, *, seed: str) -> Round:
    """One round over the next funded jobs of a walk through the queue."""
    _ONE_AT_A_TIME.rows(session, {"key": ROUND_LOCK})
    failpoint("scheduler.round.begun")
    queued = walk.page(session)
    if not queued:
        return Round(0, 0)
    jobs = {job.id: job for job in queued}
    words = Words(jobs)
    snapshot = market.read(session)
    # Not before this: no lease begins before the one that held its GPUs was released.
    now = clock.now()
    less = discounts.most()
    requests = [request_of(job, less) for job in queued]
    recent = _recent.of(session, now)
    competition = queueing.competition(session, queued, requests, snapshot, now)
    turns = competition.turns() if competition else None
    with Settling(session, jobs, now) as settling:
        choice = _engine.choose(snapshot, turns or requests, seed, recent, settling.ahead)
    if turns:
        queueing.note(session, words, turns, now)
    works = spot.live(session, now) if any(one.waits for one in choice.unplaced) else []
    reclaims = _engine.reclaim(choice.unplaced, works) if works else []
    told = Told(seed, competition or requests, recent, works)
    records.write(session, _engine, snapshot, told, Came(choice, reclaims), now)
    failpoint("scheduler.round.decided")
    _explain(words, choice.unplaced, len(snapshot.offers))
    if reclaims:
        _make_room(session, words, settling, reclaims, now)
    settling.take(choice.decisions[settling.settled :])
    failpoint("scheduler.round.granted")
    words.write(session)
    return Round(len(queued), settling.placed)


def _make_room(session: Session, words: Words, settling: Settling, reclaims: Sequence[Reclaim], now: datetime) -> None:
    """Tell spot work to stop, and those that it makes room for that it does."""
    with session.no_autoflush:
        works = spot.lock(session, reclaims)
        locked = settling.lock({work.attempt.node_id for work in works.values()})
        here = {attempt_id: work for attempt_id, work in works.items() if work.attempt.node_id in locked}
        if len(here) < len(works):
            wake(session, PLACE)
        done = spot.interrupt(session, reclaims, here, now)
        nodes = leases.lock_nodes(session, {one.work.node_id for one in done})
        leases.desired_changed(session, nodes.values())
        write_changes(session)
    for job_id, pieces in Counter(one.request.job_id for one in done).items():
        words.say(job_id, f"{pieces} spot {'job makes' if pieces == 1 else 'jobs make'} room for it")
    if done:
        log.info("spot_reclaimed", attempts=len(done))


def _explain(words: Words, unplaced: Sequence[Unplaced], offer_count: int) -> None:
    """Write down why a job waits. The figures change all the time, so they are written only with a new reason."""
    for item in unplaced:
        before, detail = words.of(item.request.job_id)
        if before in _RECOVERING:
            continue
        reason = Reason.QUEUED_FOR_CAPACITY if item.waits else Reason.NO_OFFER
        if before != reason or not detail:
            words.say(item.request.job_id, in_words(item.removed, offer_count), reason)
