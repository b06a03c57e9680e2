"""Leases: binding GPUs, CPU, memory and disk of a node to an attempt, for as long as it is funded.

Whoever grants or releases holds the rows of the nodes concerned, so that their free counters always equal what the
leases leave.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from infra.bulk import insert_rows, write_changes
from infra.statements import Statement, among
from infra.wakeups import after_commit
from infra.writing import Write, write
from market.resources import Unit
from scheduler.tables import Lease, LeaseGpu, Node
from scheduler.tables.leases import WHOLE_GPU_TEXT


@dataclass(frozen=True, slots=True)
class Grant:
    """A lease to be: whole GPUs by their keys, and the price it keeps."""

    lease_id: str
    attempt_id: str
    job_id: str
    node_id: str
    gpu_ids: Sequence[int]
    cpu_milli: int
    memory_bytes: int
    disk_bytes: int
    unit: Unit
    quantity_milli: int
    price_microusd_per_unit_hour: int
    simulated: bool
    held_until: datetime


_HELD = Statement(
    """
    SELECT node_id, sum(cpu_milli) AS cpu, sum(memory_bytes) AS memory, sum(disk_bytes) AS disk FROM leases
    WHERE node_id = ANY(cast(:nodes AS text[])) AND released_at IS NULL
        AND NOT id = ANY(cast(:released AS text[]))
    GROUP BY node_id
    """
)
_FREE = """freed{n} AS (
    UPDATE lease_gpus SET released_at = cast(:freed_at{n} AS timestamptz)
    WHERE lease_id = ANY(cast(:leases{n} AS text[])) AND released_at IS NULL
)"""


def lock_nodes(session: Session, node_ids: Collection[str]) -> dict[str, Node]:
    """The rows of these nodes as they are now, locked in the order of their ids."""
    rows = session.scalars(
        select(Node)
        .where(among(Node.id, node_ids))
        .order_by(Node.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    return {node.id: node for node in rows}


def grant(session: Session, nodes: dict[str, Node], grants: Sequence[Grant], now: datetime) -> None:
    """Bind resources of locked nodes from `now` on. The database raises IntegrityError for a GPU that is held
    already and for a counter below zero: a caller that judged by the locked rows never sees either.
    """
    if not grants:
        return
    insert_rows(session, Lease, [_lease(item, now) for item in grants])
    held = [
        {"lease_id": item.lease_id, "gpu_id": gpu_id, "slice": WHOLE_GPU_TEXT}
        for item in grants
        for gpu_id in item.gpu_ids
    ]
    insert_rows(session, LeaseGpu, held)
    for item in grants:
        node = nodes[item.node_id]
        node.cpu_free_milli -= item.cpu_milli
        node.memory_free_bytes -= item.memory_bytes
        node.disk_free_bytes -= item.disk_bytes
    desired_changed(session, [nodes[node_id] for node_id in {item.node_id for item in grants}])
    write_changes(session)


def extend(session: Session, lease: Lease, until: datetime) -> bool:
    """Hold a live lease until a later time; an earlier one changes nothing. Returns whether it did."""
    if until <= lease.held_until:
        return False
    lease.held_until = until
    desired_changed(session, lock_nodes(session, [lease.node_id]).values())
    return True


def release(session: Session, nodes: dict[str, Node], leases: Iterable[Lease], now: datetime) -> None:
    """Give back what these leases hold of locked nodes; those already released stay as they are."""
    held = [lease for lease in leases if lease.released_at is None]
    if not held:
        return
    for lease in held:
        lease.released_at = now
    ids = [lease.id for lease in held]
    write(session, Write(frozenset({LeaseGpu.__tablename__}), _FREE, {"freed_at{n}": now, "leases{n}": ids}))
    recount(session, nodes, released=ids)


def recount(session: Session, nodes: dict[str, Node], *, released: Sequence[str] = ()) -> None:
    """Set the free counters of locked nodes to what their leases leave (never below zero, if the node shrank).

    released: leases that this transaction gives back, whether that is written yet or not.
    """
    rows = _HELD.rows(session, {"nodes": list(nodes), "released": list(released)})
    used = {row.node_id: row for row in rows}
    for node_id, node in nodes.items():
        row = used.get(node_id)
        node.cpu_free_milli = max(0, node.cpu_total_milli - int(row.cpu if row else 0))
        node.memory_free_bytes = max(0, node.memory_total_bytes - int(row.memory if row else 0))
        node.disk_free_bytes = max(0, node.disk_total_bytes - int(row.disk if row else 0))


def desired_changed(session: Session, nodes: Iterable[Node]) -> None:
    """Tell the agents of locked nodes that what they should be running has changed."""
    for node in nodes:
        node.desired_version += 1
        after_commit(session, f"node:{node.id}")


def _lease(item: Grant, now: datetime) -> dict[str, object]:
    return {
        "id": item.lease_id,
        "attempt_id": item.attempt_id,
        "job_id": item.job_id,
        "node_id": item.node_id,
        "cpu_milli": item.cpu_milli,
        "memory_bytes": item.memory_bytes,
        "disk_bytes": item.disk_bytes,
        "unit": item.unit,
        "quantity_milli": item.quantity_milli,
        "price_microusd_per_unit_hour": item.price_microusd_per_unit_hour,
        "simulated": item.simulated,
        "granted_at": now,
        "held_until": item.held_until,
    }
