"""Nodes: joining, what they have, and their signs of life."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import String, bindparam, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY, Insert, insert
from sqlalchemy.orm import Session

from infra.outbox import wake
from market.agent_api import JoinRequest
from market.errors import Conflict, NotFound
from market.ids import new_id
from market.resources import Inventory, Unit
from scheduler.supply import inventory as inventories
from scheduler.tables import Node, NodeState, Pool
from scheduler.waking import PLACE
from scheduler.work import leases

KEEP_PRICES: dict[Unit, int | None] = {Unit.GPU: None, Unit.CPU: None}

# One statement for a whole batch: the rows are locked in the order of their ids before any is written.
_HEARTBEATS = text(
    """
    UPDATE nodes SET
        last_seen_at = greatest(nodes.last_seen_at, :now),
        boot_id = beat.boot_id,
        pool = beat.pool,
        state = 'online',
        lost_at = NULL,
        revision = nodes.revision
            + CASE WHEN beat.was_state <> 'online' OR beat.was_pool <> beat.pool THEN 1 ELSE 0 END
    FROM (
        SELECT node.id, given.boot_id, given.pool, node.state AS was_state, node.pool AS was_pool
        FROM unnest(:ids, :boot_ids, :pools) AS given(id, boot_id, pool)
        JOIN nodes AS node ON node.id = given.id
        ORDER BY node.id
        FOR NO KEY UPDATE OF node
    ) AS beat
    WHERE nodes.id = beat.id
    RETURNING nodes.id, beat.was_state <> 'online' OR (beat.was_pool <> 'ready' AND beat.pool = 'ready') AS usable_again
    """
).bindparams(
    bindparam("ids", type_=ARRAY(String)),
    bindparam("boot_ids", type_=ARRAY(String)),
    bindparam("pools", type_=ARRAY(String)),
)


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A node's sign of life. boot_id changes when the machine was restarted; pool: starting, ready or down."""

    node_id: str
    boot_id: str
    pool: str


def join(session: Session, provider_id: str, request: JoinRequest, now: datetime) -> Node:
    """The node of that public key, listed with its offers; joining again with the same key brings it up to date.

    The caller has checked the join token and the proof of possession. A price that is not given keeps what the node
    asked before, or takes the default. Raises Conflict when the key belongs to another provider, InvalidInput.
    """
    inventories.check(request.inventory)
    session.execute(_new_node(provider_id, request, now))
    node = session.scalars(
        select(Node)
        .where(Node.public_key == request.public_key)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()
    if node.provider_id != provider_id:
        raise Conflict(
            "this node key joined under another provider", remedy="make a new key: join with an empty state folder"
        )
    node.name = request.name
    node.state, node.lost_at = NodeState.ONLINE, None
    node.last_seen_at = max(node.last_seen_at, now)
    prices = {Unit.GPU: request.price_microusd_per_gpu_hour, Unit.CPU: request.price_microusd_per_cpu_hour}
    inventories.write(session, node, request.inventory, prices, now)
    return node


def update_inventory(session: Session, node_id: str, inventory: Inventory, now: datetime) -> None:
    """Take what the agent sees now; leases of what is gone run on until they end. Raises NotFound, InvalidInput."""
    inventories.check(inventory)
    node = leases.lock_nodes(session, [node_id]).get(node_id)
    if node is None:
        raise NotFound(f"there is no node {node_id}")
    inventories.write(session, node, inventory, KEEP_PRICES, now)


def heartbeat(session: Session, beats: Sequence[Heartbeat], now: datetime) -> None:
    """Note that these nodes are alive; a lost one is online again. Ids that are unknown are passed over."""
    latest = {beat.node_id: beat for beat in beats}
    if not latest:
        return
    values = {
        "now": now,
        "ids": list(latest),
        "boot_ids": [beat.boot_id for beat in latest.values()],
        "pools": [Pool(beat.pool).value for beat in latest.values()],
    }
    rows = session.execute(_HEARTBEATS, values).all()
    if any(row.usable_again for row in rows):
        wake(session, PLACE)


def public_key(session: Session, node_id: str) -> str:
    """The key that the node's reports are signed with, 64 hexadecimal digits. Raises NotFound."""
    key = session.scalar(select(Node.public_key).where(Node.id == node_id))
    if key is None:
        raise NotFound(f"there is no node {node_id}")
    return key


def of_provider(session: Session, provider_id: str, limit: int = 1000) -> list[Node]:
    """A provider's nodes, in the order they joined."""
    own = select(Node).where(Node.provider_id == provider_id).order_by(Node.joined_at, Node.id).limit(limit)
    return list(session.scalars(own))


def counts(session: Session) -> dict[NodeState, int]:
    """How many nodes there are in each state."""
    rows = session.execute(select(Node.state, func.count()).group_by(Node.state))
    return dict.fromkeys(NodeState, 0) | {row[0]: row[1] for row in rows}


def _new_node(provider_id: str, request: JoinRequest, now: datetime) -> Insert:
    have = request.inventory
    return (
        insert(Node)
        .values(
            id=new_id("node"),
            provider_id=provider_id,
            public_key=request.public_key,
            name=request.name,
            hostname=have.hostname,
            state=NodeState.ONLINE,
            pool=Pool.DOWN,
            simulated=have.simulated,
            sandbox=have.sandbox,
            agent_version=have.agent_version,
            cpu_total_milli=have.cpu_milli,
            cpu_free_milli=have.cpu_milli,
            memory_total_bytes=have.memory_bytes,
            memory_free_bytes=have.memory_bytes,
            disk_total_bytes=have.disk_bytes,
            disk_free_bytes=have.disk_bytes,
            joined_at=now,
            last_seen_at=now,
        )
        .on_conflict_do_nothing(index_elements=["public_key"])
    )
