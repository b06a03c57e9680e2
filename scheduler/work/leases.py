"""Leases: what is bound of a node to an attempt (grants.py), for as long as it is funded.

Whoever grants or releases holds the rows of the nodes concerned, so that their free counters always equal what the
leases leave.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from infra.loading import Loading
from infra.statements import Statement
from infra.wakeups import after_commit
from infra.writing import Write, write
from scheduler.tables import Lease, LeaseGpu, Node

_NODES = Loading(
    {"node": Node}, "FROM nodes AS node WHERE node.id = ANY(cast(:nodes AS text[])) ORDER BY node.id FOR NO KEY UPDATE"
)
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
    return {node.id: node for (node,) in _NODES.rows(session, {"nodes": list(node_ids)})}


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
