"""Attempts of spot jobs: their rows beside the attempts', what runs of them, and the notice to make room."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from infra.bulk import insert_rows
from infra.statements import Statement
from infra.writing import Write, write
from market.money import format_usdc
from market.states import Reason
from scheduler.placement.reclaiming import Reclaim, SpotWork
from scheduler.tables import Attempt, Job, Lease, SpotAttempt
from scheduler.work import stops
from scheduler.work.locked import Work

_END = """spot_ended{n} AS (
    UPDATE spot_attempts SET ended_at = cast(:ended_at{n} AS timestamptz)
    WHERE attempt_id = ANY(cast(:attempts{n} AS text[])) AND ended_at IS NULL
)"""
_LIVE = Statement(
    """
    SELECT spot.attempt_id, spot.job_id, lease.node_id, spot.bid_microusd_per_unit_hour AS bid,
        coalesce(held.model, '') AS model, coalesce(held.gpus, 0) AS gpus, lease.cpu_milli, lease.memory_bytes,
        lease.disk_bytes, cast(extract(epoch FROM lease.granted_at) AS bigint) AS began_at,
        coalesce(attempt.stop_at <= cast(:now AS timestamptz), false) AS leaving
    FROM spot_attempts AS spot
    JOIN attempts AS attempt ON attempt.id = spot.attempt_id
    JOIN leases AS lease ON lease.attempt_id = spot.attempt_id
    LEFT JOIN LATERAL (
        SELECT min(gpu.model) AS model, count(*) FILTER (WHERE gpu.present AND NOT gpu.quarantined) AS gpus
        FROM lease_gpus AS of_lease JOIN gpus AS gpu ON gpu.id = of_lease.gpu_id WHERE of_lease.lease_id = lease.id
    ) AS held ON true
    WHERE spot.ended_at IS NULL AND attempt.state IN ('placed', 'running')
    ORDER BY spot.attempt_id
    """
)


def is_spot(job: Job) -> bool:
    return bool(job.spec.get("spot"))


def begin(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Attempts of spot jobs were placed; the columns of SpotAttempt."""
    insert_rows(session, SpotAttempt, rows)


def end(session: Session, attempt_ids: list[str], now: datetime) -> None:
    """Attempts of spot jobs have ended."""
    if attempt_ids:
        tables = frozenset({SpotAttempt.__tablename__})
        write(session, Write(tables, _END, {"ended_at{n}": now, "attempts{n}": attempt_ids}))


def live(session: Session, now: datetime) -> list[SpotWork]:
    """All spot work that holds something."""
    return [SpotWork(**row._asdict()) for row in _LIVE.rows(session, {"now": now})]


def reclaimed(session: Session, job_id: str) -> int:
    """How many attempts of a job made room for others."""
    query = select(func.count()).where(Attempt.job_id == job_id, Attempt.reason == Reason.STOPPED_SPOT_RECLAIMED)
    return session.scalar(query) or 0


def lock(session: Session, reclaims: Sequence[Reclaim]) -> dict[str, Work]:
    """The work that is to make room, by attempt, locked; what somebody is changing just now is passed over: the change
    wakes another round."""
    query = (
        select(Job, Attempt, Lease)
        .join(Attempt, Attempt.job_id == Job.id)
        .join(Lease, Lease.attempt_id == Attempt.id)
        .where(Attempt.id.in_([one.work.attempt_id for one in reclaims]))
        .order_by(Job.id)
        .with_for_update(skip_locked=True, key_share=True)
        .execution_options(populate_existing=True)
    )
    return {attempt.id: Work(job, attempt, lease) for job, attempt, lease in session.execute(query)}


def interrupt(session: Session, reclaims: Sequence[Reclaim], works: dict[str, Work], now: datetime) -> list[Reclaim]:
    """Have locked work make room; its nodes are to be told. Only spot work that lives and was not told to stop before:
    no other is ever interrupted. Returns what was."""
    found = session.scalars(select(SpotAttempt).where(SpotAttempt.attempt_id.in_(works)))
    rows = {row.attempt_id: row for row in found}
    done = []
    for one in reclaims:
        work = works.get(one.work.attempt_id)
        if work is None or not is_spot(work.job) or work.attempt.state.final or stops.is_asked(work.attempt, now):
            continue
        row = rows[work.attempt.id]
        row.reclaimed_at = now
        row.outbid_by_microusd_per_unit_hour = one.request.bid if one.outbid else None
        stops.interrupt(session, work, in_words(row), now)
        done.append(one)
    return done


def in_words(row: SpotAttempt) -> str:
    """What it made room for."""
    bid, by = row.bid_microusd_per_unit_hour, row.outbid_by_microusd_per_unit_hour
    if by is None:
        return f"a job that pays the posted price takes the place of this bid of {format_usdc(bid)} USDC"
    return f"a bid of {format_usdc(by)} USDC takes the place of this one of {format_usdc(bid)} USDC"
