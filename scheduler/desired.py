"""The desired state: what each agent should be running, as of its version."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from market.agent_api import Action, DesiredAttempt
from market.clock import milliseconds_between
from scheduler.tables import LIVE, Attempt, Gpu, Lease, LeaseGpu, Node


@dataclass(frozen=True, slots=True)
class NodeDesire:
    """An attempt that is not listed is to be killed and forgotten."""

    version: int
    attempts: list[DesiredAttempt]


def desired_state(session: Session, node_ids: Collection[str], now: datetime) -> dict[str, NodeDesire]:
    """For each of these nodes that exists: its live attempts, with what is left of their leases at `now`."""
    if not node_ids:
        return {}
    # The version first: attempts read after it may be newer, which an agent mends at its next poll; never older.
    versions = session.execute(select(Node.id, Node.desired_version).where(Node.id.in_(node_ids))).all()
    rows = session.execute(
        select(
            Attempt.id,
            Attempt.number,
            Attempt.job_id,
            Attempt.node_id,
            Attempt.stop_reason,
            Attempt.stop_at,
            Lease.id.label("lease_id"),
            Lease.held_until,
            Lease.cpu_milli,
            Lease.memory_bytes,
            Lease.disk_bytes,
        )
        .join(Lease, Lease.attempt_id == Attempt.id)
        .where(Attempt.node_id.in_(node_ids), Attempt.state.in_(LIVE), Lease.released_at.is_(None))
        .order_by(Attempt.id)
    ).all()
    gpus = _gpu_uuids(session, [row.lease_id for row in rows])
    attempts: dict[str, list[DesiredAttempt]] = defaultdict(list)
    for row in rows:
        attempts[row.node_id].append(_desired(row, gpus[row.lease_id], now))
    return {node_id: NodeDesire(version, attempts[node_id]) for node_id, version in versions}


def versions(session: Session, node_ids: Collection[str]) -> dict[str, int]:
    """The version of each node's desired state: the cheap look before a long poll waits."""
    rows = session.execute(select(Node.id, Node.desired_version).where(Node.id.in_(node_ids)))
    return {row.id: row.desired_version for row in rows}


def _gpu_uuids(session: Session, lease_ids: list[str]) -> dict[str, list[str]]:
    uuids: dict[str, list[str]] = defaultdict(list)
    if lease_ids:
        rows = session.execute(
            select(LeaseGpu.lease_id, Gpu.uuid)
            .join(Gpu, Gpu.id == LeaseGpu.gpu_id)
            .where(LeaseGpu.lease_id.in_(lease_ids))
            .order_by(Gpu.index, Gpu.id)
        )
        for lease_id, uuid in rows:
            uuids[lease_id].append(uuid)
    return uuids


def _desired(row: Row[*tuple[Any, ...]], gpu_uuids: list[str], now: datetime) -> DesiredAttempt:
    stopping = row.stop_at is not None and row.stop_at <= now
    return DesiredAttempt(
        attempt_id=row.id,
        attempt_number=row.number,
        job_id=row.job_id,
        lease_id=row.lease_id,
        action=Action.STOP if stopping else Action.RUN,
        stop_reason=row.stop_reason if stopping else None,
        held_for_ms=max(0, milliseconds_between(now, row.held_until)),
        gpu_uuids=gpu_uuids,
        cpu_milli=row.cpu_milli,
        memory_bytes=row.memory_bytes,
        disk_bytes=row.disk_bytes,
    )
