"""The desired state: what each agent should be running, as of its version."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from infra.statements import Statement
from market.agent_api import Action, DesiredAttempt
from market.clock import milliseconds_between

# Live attempts with their unreleased leases, and the devices of each in the node's order.
_DESIRED = Statement(
    """
    SELECT node.id AS node_id, node.desired_version, attempt.id, attempt.number, attempt.job_id, attempt.stop_reason,
        attempt.stop_at, lease.id AS lease_id, lease.held_until, lease.cpu_milli, lease.memory_bytes, lease.disk_bytes,
        (
            SELECT array_agg(gpu.uuid ORDER BY gpu.index, gpu.id)
            FROM lease_gpus AS held JOIN gpus AS gpu ON gpu.id = held.gpu_id WHERE held.lease_id = lease.id
        ) AS gpu_uuids
    FROM nodes AS node
    LEFT JOIN attempts AS attempt ON attempt.node_id = node.id AND attempt.state IN ('placed', 'running')
    LEFT JOIN leases AS lease ON lease.attempt_id = attempt.id AND lease.released_at IS NULL
    WHERE node.id = ANY(cast(:nodes AS text[]))
    ORDER BY attempt.id
    """
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
    rows = _DESIRED.rows(session, {"nodes": list(node_ids)})
    desires: dict[str, NodeDesire] = {}
    for row in rows:
        desire = desires.setdefault(row.node_id, NodeDesire(row.desired_version, []))
        if row.lease_id is not None:
            desire.attempts.append(_desired(row, now))
    return desires


def _desired(row: Any, now: datetime) -> DesiredAttempt:
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
