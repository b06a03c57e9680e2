"""The desired state: what each agent should be running, as of its version."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session

from market.agent_api import Action, DesiredAttempt
from market.clock import milliseconds_between
from scheduler.tables import LIVE, Attempt, Gpu, Lease, LeaseGpu, Node

# The devices of a lease, in the node's order.
_GPU_UUIDS = (
    select(func.array_agg(aggregate_order_by(Gpu.uuid, Gpu.index, Gpu.id)))
    .join(LeaseGpu, LeaseGpu.gpu_id == Gpu.id)
    .where(LeaseGpu.lease_id == Lease.id)
    .correlate(Lease)
    .scalar_subquery()
)


@dataclass(frozen=True, slots=True)
class NodeDesire:
    """An attempt that is not listed is to be killed and forgotten."""

    version: int
    attempts: list[DesiredAttempt]


def desired_state(session: Session, node_ids: Collection[str], now: datetime) -> dict[str, NodeDesire]:
    """For each of these nodes that exists: its live attempts, with what is left of their leases at `now`."""
    if not node_ids:
        return {}
    rows = session.execute(
        select(
            Node.id.label("node_id"),
            Node.desired_version,
            Attempt.id,
            Attempt.number,
            Attempt.job_id,
            Attempt.stop_reason,
            Attempt.stop_at,
            Lease.id.label("lease_id"),
            Lease.held_until,
            Lease.cpu_milli,
            Lease.memory_bytes,
            Lease.disk_bytes,
            _GPU_UUIDS.label("gpu_uuids"),
        )
        .outerjoin(Attempt, and_(Attempt.node_id == Node.id, Attempt.state.in_(LIVE)))
        .outerjoin(Lease, and_(Lease.attempt_id == Attempt.id, Lease.released_at.is_(None)))
        .where(Node.id.in_(node_ids))
        .order_by(Attempt.id)
    )
    desires: dict[str, NodeDesire] = {}
    for row in rows:
        desire = desires.setdefault(row.node_id, NodeDesire(row.desired_version, []))
        if row.lease_id is not None:
            desire.attempts.append(_desired(row, now))
    return desires


def _desired(row: Row[*tuple[Any, ...]], now: datetime) -> DesiredAttempt:
    stopping = row.stop_at is not None and row.stop_at <= now
    return DesiredAttempt(
        attempt_id=row.id,
        attempt_number=row.number,
        job_id=row.job_id,
        lease_id=row.lease_id,
        action=Action.STOP if stopping else Action.RUN,
        stop_reason=row.stop_reason if stopping else None,
        held_for_ms=max(0, milliseconds_between(now, row.held_until)),
        gpu_uuids=row.gpu_uuids or [],
        cpu_milli=row.cpu_milli,
        memory_bytes=row.memory_bytes,
        disk_bytes=row.disk_bytes,
    )
