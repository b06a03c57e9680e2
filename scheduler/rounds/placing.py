"""Placing rounds: load what is queued and what is free, let placement decide, apply it in the same transaction."""

import secrets
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from infra.bulk import write_changes
from infra.database import Database
from infra.outbox import publish, wake
from infra.statements import Statement
from infra.telemetry import JOBS_LOOKED_AT, JOBS_PLACED, ROUND_SECONDS
from market.clock import Clock
from market.failpoints import failpoint
from market.ids import new_id
from market.messages import AttemptPlaced
from market.resources import Unit
from market.states import Reason
from scheduler.placement.decisions import Decision, Unplaced
from scheduler.placement.engine import Engine
from scheduler.placement.reclaiming import Reclaim
from scheduler.placement.record.round import Came, Told
from scheduler.placement.requests import Request
from scheduler.placement.sieve import in_words
from scheduler.rounds import discounts, queueing, records, snapshots
from scheduler.rounds.asking import COLUMNS, request_of_row
from scheduler.rounds.queued import Queued, Words, request_of, wake_followers
from scheduler.rounds.queueing import Walk
from scheduler.tables import Job, NodeState
from scheduler.waking import PLACE
from scheduler.work import grants, leases, spot
from scheduler.work.grants import Grant, Standing
from scheduler.work.locked import Work

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
        with ROUND_SECONDS.time(), database.transaction() as session:
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


def place(session: Session, clock: Clock, walk: Walk, *, seed: str) -> Round:
    """One round over the next funded jobs of a walk through the queue."""
    _ONE_AT_A_TIME.rows(session, {"key": ROUND_LOCK})
    failpoint("scheduler.round.begun")
    queued = walk.page(session)
    if not queued:
        return Round(0, 0)
    jobs = {job.id: job for job in queued}
    words = Words(jobs)
    snapshot = snapshots.load(session)
    # Not before this: no lease begins before the one that held its GPUs was released.
    now = clock.now()
    less = discounts.of(session, {job.organization_id for job in queued})
    requests = [request_of(job, less.get(job.organization_id, 0)) for job in queued]
    recent = _recent.of(session, now)
    competition = queueing.competition(session, queued, requests, snapshot, now)
    turns = competition.turns() if competition else None
    choice = _engine.choose(snapshot, turns or requests, seed, recent)
    if turns:
        queueing.note(session, words, turns, now)
    works = spot.live(session, now) if any(one.waits for one in choice.unplaced) else []
    reclaims = _engine.reclaim(choice.unplaced, works) if works else []
    told = Told(seed, competition or requests, recent, works)
    records.write(session, _engine, snapshot, told, Came(choice, reclaims), now)
    failpoint("scheduler.round.decided")
    _explain(words, choice.unplaced, len(snapshot.offers))
    placed = _apply(session, jobs, words, choice.decisions, reclaims, now)
    words.write(session)
    return Round(len(queued), placed)


def _apply(
    session: Session,
    jobs: dict[str, Queued],
    words: Words,
    decisions: Sequence[Decision],
    reclaims: Sequence[Reclaim],
    now: datetime,
) -> int:
    """Turn decisions into attempts and leases, and have spot work make room. Decisions on a node that has changed
    since it was loaded are dropped: the change wakes another round."""
    if not decisions and not reclaims:
        return 0
    # It rests on nothing that this round has written: that goes with the rest.
    with session.no_autoflush:
        works = spot.lock(session, reclaims) if reclaims else {}
        on = {decision.node.node_id for decision in decisions} | {work.attempt.node_id for work in works.values()}
        nodes = grants.lock_nodes(session, on)
        if works:
            _make_room(session, words, reclaims, works, now)
    sound = [decision for decision in decisions if _still_true(decision, nodes.get(decision.node.node_id))]
    given = [(jobs[decision.request.job_id], decision, _grant(decision)) for decision in sound]
    grants.write_grants(session, [grant for _, _, grant in given], now)
    spot.begin(session, [_spot_attempt(decision, grant) for _, decision, grant in given if decision.request.spot])
    failpoint("scheduler.round.granted")
    publish(session, *[_message(job, decision, grant, now) for job, decision, grant in given])
    wake_followers(session, [job for job, _, _ in given])
    if len(sound) < len(decisions):
        log.info("placements_dropped", count=len(decisions) - len(sound))
    return len(sound)


def _make_room(
    session: Session, words: Words, reclaims: Sequence[Reclaim], works: dict[str, Work], now: datetime
) -> None:
    """Tell spot work on locked nodes to stop, and those that it makes room for that it does."""
    done = spot.interrupt(session, reclaims, works, now)
    nodes = leases.lock_nodes(session, {one.work.node_id for one in done})
    leases.desired_changed(session, nodes.values())
    write_changes(session)
    for job_id, pieces in Counter(one.request.job_id for one in done).items():
        words.say(job_id, f"{pieces} spot {'job makes' if pieces == 1 else 'jobs make'} room for it")
    if done:
        log.info("spot_reclaimed", attempts=len(done))


def _still_true(decision: Decision, node: Standing | None) -> bool:
    return node is not None and node.revision == decision.node.revision and node.state == NodeState.ONLINE


def _grant(decision: Decision) -> Grant:
    return Grant(
        attempt_id=new_id("att"),
        lease_id=new_id("lease"),
        job_id=decision.request.job_id,
        node_id=decision.node.node_id,
        gpu_ids=decision.gpus,
        price_microusd_per_unit_hour=decision.price_microusd_per_unit_hour,
    )


def _spot_attempt(decision: Decision, grant: Grant) -> dict[str, object]:
    return {
        "attempt_id": grant.attempt_id,
        "job_id": grant.job_id,
        "bid_microusd_per_unit_hour": decision.request.bid,
        "asked_microusd_per_unit_hour": decision.offer.price_microusd_per_unit_hour,
    }


def _message(job: Queued, decision: Decision, grant: Grant, now: datetime) -> AttemptPlaced:
    node = decision.node
    return AttemptPlaced(
        trace=job.trace,
        job_id=job.id,
        organization_id=job.organization_id,
        attempt_id=grant.attempt_id,
        attempt_number=job.attempts_placed + 1,
        lease_id=grant.lease_id,
        node_id=node.node_id,
        provider_id=node.provider_id,
        unit=Unit(job.unit),
        quantity_milli=job.quantity_milli,
        price_microusd_per_unit_hour=grant.price_microusd_per_unit_hour,
        discount_basis_points=decision.request.discount_basis_points,
        simulated=node.simulated,
        granted_at=now,
        held_until=now + timedelta(seconds=job.funded_seconds),
    )


def _explain(words: Words, unplaced: Sequence[Unplaced], offer_count: int) -> None:
    """Write down why a job waits. The figures change all the time, so they are written only with a new reason."""
    for item in unplaced:
        before, detail = words.of(item.request.job_id)
        if before in _RECOVERING:
            continue
        reason = Reason.QUEUED_FOR_CAPACITY if item.waits else Reason.NO_OFFER
        if before != reason or not detail:
            words.say(item.request.job_id, in_words(item.removed, offer_count), reason)
