"""Placing rounds: load what is queued and what is free, let placement decide, apply it in the same transaction."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import select, text, tuple_
from sqlalchemy.orm import Session

from infra.bulk import insert_rows, write_changes
from infra.database import Database
from infra.outbox import publish, wake
from infra.telemetry import JOBS_LOOKED_AT, JOBS_PLACED, ROUND_SECONDS
from market.clock import Clock
from market.failpoints import failpoint
from market.ids import new_id
from market.messages import AttemptPlaced
from market.resources import GpuRequest
from market.states import AttemptState, JobState, Reason, advance
from scheduler.placement.decisions import Decision, Unplaced
from scheduler.placement.engine import Engine
from scheduler.placement.requests import Request
from scheduler.placement.sieve import in_words
from scheduler.rounds import snapshots
from scheduler.tables import Attempt, Job, Node, NodeState
from scheduler.waking import PLACE, changed
from scheduler.work import leases
from scheduler.work.leases import Grant

log = structlog.get_logger(__name__)
ROUND_LOCK = 0x67726964_706C6163
"""The advisory lock that lets one round run at a time ("gridplac")."""
RUN_SECONDS_MAX = 15.0
RECENT_MAX = 256
"""The newest jobs, by which is judged what the next ones will ask for."""

_engine = Engine()
"""It keeps what it knows of the market between rounds, for speed alone; the round's lock lets one thread at it."""

Place = tuple[datetime, str]
"""A place in the queue: created_at and id of a job."""


@dataclass(frozen=True, slots=True)
class Round:
    """What one round did. last: where in the queue it stopped looking, None at the queue's end."""

    looked_at: int
    placed: int
    last: Place | None


@dataclass(slots=True)
class _Batch:
    """Rows and messages of the placements of one round."""

    attempts: list[dict[str, object]] = field(default_factory=list)
    grants: list[Grant] = field(default_factory=list)
    messages: list[AttemptPlaced] = field(default_factory=list)


def run(database: Database, clock: Clock, *, limit: int, seconds_max: float = RUN_SECONDS_MAX) -> int:
    """Go through the queue once, a round and a transaction at a time; returns how many jobs were placed.

    A queue too long for one run is left for the next one, which is asked for at once.
    """
    started, placed, last = time.monotonic(), 0, None
    while True:
        with ROUND_SECONDS.time(), database.transaction() as session:
            outcome = place(session, clock, limit=limit, seed=secrets.token_hex(8), after=last)
            late = time.monotonic() - started > seconds_max
            if outcome.last is not None and late:
                wake(session, PLACE)
            failpoint("scheduler.round.published")
        failpoint("scheduler.round.committed")
        JOBS_LOOKED_AT.inc(outcome.looked_at)
        JOBS_PLACED.inc(outcome.placed)
        placed += outcome.placed
        last = outcome.last
        if last is None or late:
            return placed


def place(session: Session, clock: Clock, *, limit: int, seed: str, after: Place | None = None) -> Round:
    """One round over at most `limit` funded jobs from that place in the queue on, oldest first."""
    session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ROUND_LOCK})
    failpoint("scheduler.round.begun")
    queued = _queued(session, limit, after)
    if not queued:
        return Round(0, 0, None)
    jobs = {job.id: job for job in queued}
    snapshot = snapshots.load(session)
    # Not before this: no lease begins before the one that held its GPUs was released.
    now = clock.now()
    choice = _engine.choose(snapshot, [_request(job) for job in queued], seed, _recent(session, now))
    failpoint("scheduler.round.decided")
    placed = _apply(session, jobs, choice.decisions, now)
    _explain(session, jobs, choice.unplaced, len(snapshot.offers))
    last = queued[-1]
    return Round(len(queued), placed, (last.created_at, last.id) if len(queued) == limit else None)


def _queued(session: Session, limit: int, after: Place | None) -> Sequence[Job]:
    """Jobs that somebody else is changing just now are passed over: the change wakes another round."""
    query = select(Job).where(Job.state == JobState.QUEUED, Job.funded_seconds.is_not(None))
    if after is not None:
        query = query.where(tuple_(Job.created_at, Job.id) > tuple_(*after))
    query = query.order_by(Job.created_at, Job.id).limit(limit).with_for_update(skip_locked=True, key_share=True)
    return session.scalars(query.execution_options(populate_existing=True)).all()


def _recent(session: Session, now: datetime) -> list[Request]:
    """The newest requests of before this minute, whatever became of them; ids made later sort later.

    Of before this minute, so that rounds judge by the same for a while: what the engine keeps rests on it.
    """
    columns = (
        Job.id,
        Job.unit,
        Job.gpu_count,
        Job.gpu_model,
        Job.gpu_memory_min_bytes,
        Job.gpu_memory_max_bytes,
        Job.cpu_milli,
        Job.memory_bytes,
        Job.disk_bytes,
        Job.price_limit_microusd_per_unit_hour,
        Job.simulated,
    )
    before = Job.created_at < now.replace(second=0, microsecond=0)
    query = select(*columns).where(before).order_by(Job.id.desc()).limit(RECENT_MAX)
    return [_request(row) for row in session.execute(query)]


def _request(job: Any) -> Request:
    """Of a job, or of a row of those columns."""
    gpu = None
    if job.gpu_count:
        gpu = GpuRequest(
            count=job.gpu_count,
            model=job.gpu_model,
            memory_min_bytes=job.gpu_memory_min_bytes,
            memory_max_bytes=job.gpu_memory_max_bytes,
        )
    return Request(
        job_id=job.id,
        unit=job.unit,
        gpu=gpu,
        cpu_milli=job.cpu_milli,
        memory_bytes=job.memory_bytes,
        disk_bytes=job.disk_bytes,
        price_limit_microusd_per_unit_hour=job.price_limit_microusd_per_unit_hour,
        simulated=job.simulated,
    )


def _apply(session: Session, jobs: dict[str, Job], decisions: Sequence[Decision], now: datetime) -> int:
    """Turn decisions into attempts and leases. Those on a node that has changed since it was loaded are dropped:
    the change wakes another round."""
    if not decisions:
        return 0
    nodes = leases.lock_nodes(session, {decision.node.node_id for decision in decisions})
    sound = [decision for decision in decisions if _still_true(decision, nodes.get(decision.node.node_id))]
    batch = _Batch()
    for decision in sound:
        _add(batch, jobs[decision.request.job_id], decision, now)
        changed(session, jobs[decision.request.job_id])
    write_changes(session)
    insert_rows(session, Attempt, batch.attempts)
    leases.grant(session, nodes, batch.grants, now)
    failpoint("scheduler.round.granted")
    publish(session, *batch.messages)
    if len(sound) < len(decisions):
        log.info("placements_dropped", count=len(decisions) - len(sound))
    return len(sound)


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
        if job.reason in (Reason.RECOVERING_PROVIDER_LOST, Reason.RECOVERING_RETRY):
            continue
        reason = Reason.QUEUED_FOR_CAPACITY if item.waits else Reason.NO_OFFER
        if job.reason is not reason or not job.detail:
            job.reason, job.detail = reason, in_words(item.removed, offer_count)
            changed(session, job)
