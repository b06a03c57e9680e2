"""Placing rounds: load what is queued and what is free, let placement decide, apply it in the same transaction."""

import secrets
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from infra.bulk import insert_rows, write_changes
from infra.database import Database
from infra.outbox import publish, wake
from infra.statements import Statement
from infra.telemetry import JOBS_LOOKED_AT, JOBS_PLACED, ROUND_SECONDS
from market.clock import Clock
from market.failpoints import failpoint
from market.ids import new_id
from market.messages import AttemptPlaced
from market.states import AttemptState, JobState, Reason, advance
from scheduler.placement.decisions import Decision, Unplaced
from scheduler.placement.engine import Engine
from scheduler.placement.reclaiming import Reclaim
from scheduler.placement.record.round import Came, Told
from scheduler.placement.requests import Request
from scheduler.placement.sieve import in_words
from scheduler.rounds import queueing, records, snapshots
from scheduler.rounds.asking import COLUMNS, request_of_row
from scheduler.rounds.queueing import Walk
from scheduler.tables import Attempt, Job, Node, NodeState
from scheduler.waking import PLACE, changed
from scheduler.work import leases, spot
from scheduler.work.leases import Grant
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


@dataclass(slots=True)
class _Batch:
    """Rows and messages of the placements of one round. spot: of spot jobs' attempts."""

    attempts: list[dict[str, object]] = field(default_factory=list)
    grants: list[Grant] = field(default_factory=list)
    messages: list[AttemptPlaced] = field(default_factory=list)
    spot: list[dict[str, object]] = field(default_factory=list)


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
    snapshot = snapshots.load(session)
    # Not before this: no lease begins before the one that held its GPUs was released.
    now = clock.now()
    requests, recent = [request_of_row(job) for job in queued], _recent.of(session, now)
    competition = queueing.competition(session, queued, requests, snapshot, now)
    turns = competition.turns() if competition else None
    choice = _engine.choose(snapshot, turns or requests, seed, recent)
    if turns:
        queueing.note(session, jobs, turns, now)
    works = spot.live(session, now) if any(one.waits for one in choice.unplaced) else []
    reclaims = _engine.reclaim(choice.unplaced, works) if works else []
    told = Told(seed, competition or requests, recent, works)
    records.write(session, _engine, snapshot, told, Came(choice, reclaims), now)
    failpoint("scheduler.round.decided")
    _explain(session, jobs, choice.unplaced, len(snapshot.offers))
    placed = _apply(session, jobs, choice.decisions, reclaims, now)
    return Round(len(queued), placed)


def _apply(
    session: Session,
    jobs: dict[str, Job],
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
        nodes = leases.lock_nodes(session, on)
        if works:
            _make_room(session, jobs, reclaims, works, nodes, now)
    sound = [decision for decision in decisions if _still_true(decision, nodes.get(decision.node.node_id))]
    batch = _Batch()
    for decision in sound:
        _add(batch, jobs[decision.request.job_id], decision, now)
        changed(session, jobs[decision.request.job_id])
    write_changes(session)
    insert_rows(session, Attempt, batch.attempts)
    leases.grant(session, nodes, batch.grants, now)
    spot.begin(session, batch.spot)
    failpoint("scheduler.round.granted")
    publish(session, *batch.messages)
    if len(sound) < len(decisions):
        log.info("placements_dropped", count=len(decisions) - len(sound))
    return len(sound)


def _make_room(
    session: Session,
    jobs: dict[str, Job],
    reclaims: Sequence[Reclaim],
    works: dict[str, Work],
    nodes: dict[str, Node],
    now: datetime,
) -> None:
    """Tell spot work to stop, and those that it makes room for that it does."""
    done = spot.interrupt(session, reclaims, works, now)
    leases.desired_changed(session, [nodes[node_id] for node_id in sorted({one.work.node_id for one in done})])
    for job_id, pieces in Counter(one.request.job_id for one in done).items():
        jobs[job_id].detail = f"{pieces} spot {'job makes' if pieces == 1 else 'jobs make'} room for it"
        changed(session, jobs[job_id])
    if done:
        log.info("spot_reclaimed", attempts=len(done))


def _still_true(decision: Decision, node: Node | None) -> bool:
    return node is not None and node.revision == decision.node.revision and node.state is NodeState.ONLINE


def _add(batch: _Batch, job: Job, decision: Decision, now: datetime) -> None:
    attempt_id, lease_id = new_id("att"), new_id("lease")
    held_until = now + timedelta(seconds=job.funded_seconds or 0)
    job.state = advance(job.state, JobState.PLACED)
    job.reason, job.detail = Reason.PLACED, ""
    job.attempts_placed += 1
    job.funded_seconds = None
    node, price = decision.node, decision.price_microusd_per_unit_hour
    if decision.request.spot:
        bid, asked = decision.request.bid, decision.offer.price_microusd_per_unit_hour
        amounts = {"bid_microusd_per_unit_hour": bid, "asked_microusd_per_unit_hour": asked}
        batch.spot.append({"attempt_id": attempt_id, "job_id": job.id, **amounts})
    batch.attempts.append(
        {
            "id": attempt_id,
            "job_id": job.id,
            "number": job.attempts_placed,
            "node_id": node.node_id,
            "provider_id": node.provider_id,
            "price_microusd_per_unit_hour": price,
            "state": AttemptState.PLACED,
            "reason": Reason.PLACED,
            "placed_at": now,
        }
    )
    batch.grants.append(
        Grant(
            lease_id=lease_id,
            attempt_id=attempt_id,
            job_id=job.id,
            node_id=node.node_id,
            gpu_ids=decision.gpus,
            cpu_milli=job.cpu_milli,
            memory_bytes=job.memory_bytes,
            disk_bytes=job.disk_bytes,
            unit=job.unit,
            quantity_milli=job.quantity_milli,
            price_microusd_per_unit_hour=price,
            simulated=node.simulated,
            held_until=held_until,
        )
    )
    batch.messages.append(
        AttemptPlaced(
            trace=job.trace,
            job_id=job.id,
            organization_id=job.organization_id,
            attempt_id=attempt_id,
            attempt_number=job.attempts_placed,
            lease_id=lease_id,
            node_id=node.node_id,
            provider_id=node.provider_id,
            unit=job.unit,
            quantity_milli=job.quantity_milli,
            price_microusd_per_unit_hour=price,
            simulated=node.simulated,
            granted_at=now,
            held_until=held_until,
        )
    )


def _explain(session: Session, jobs: dict[str, Job], unplaced: Sequence[Unplaced], offer_count: int) -> None:
    """Write down why a job waits. The figures change all the time, so they are written only with a new reason."""
    for item in unplaced:
        job = jobs[item.request.job_id]
        if job.reason in _RECOVERING:
            continue
        reason = Reason.QUEUED_FOR_CAPACITY if item.waits else Reason.NO_OFFER
        if job.reason is not reason or not job.detail:
            job.reason, job.detail = reason, in_words(item.removed, offer_count)
            changed(session, job)
