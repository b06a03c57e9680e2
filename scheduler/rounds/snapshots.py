"""Loading the market's rows into the snapshot that placement, search and quotes judge by."""

from collections import defaultdict

from sqlalchemy import Integer, cast, exists, or_, select
from sqlalchemy.orm import Session

from market.resources import Unit
from scheduler.placement.facts import NodeFacts, OfferFacts
from scheduler.placement.snapshot import Snapshot
from scheduler.proofs.judgement import BARRED
from scheduler.tables import Gpu, LeaseGpu, Node, NodeState, Offer, Pool, ProofStanding


def load(session: Session) -> Snapshot:
    """Every standing offer on a node that is not gone. Nothing is locked: a decision is checked when it is applied."""
    nodes = _nodes(session)
    return Snapshot(nodes, _offers(session, {node.node_id: node for node in nodes}))


def _nodes(session: Session) -> list[NodeFacts]:
    rows = session.execute(
        select(
            Node.id.label("node_id"),
            Node.provider_id,
            Node.name,
            (Node.state == NodeState.ONLINE).label("online"),
            (Node.pool == Pool.READY).label("pool_ready"),
            Node.simulated,
            Node.cpu_total_milli,
            Node.cpu_free_milli,
            Node.memory_total_bytes,
            Node.memory_free_bytes,
            Node.disk_total_bytes,
            Node.disk_free_bytes,
            Node.revision,
            or_(Node.quarantined, Node.barred).label("quarantined"),
            cast(Node.verified, Integer).label("tier"),
        )
        .where(Node.state != NodeState.GONE)
        .order_by(Node.id)
    )
    return [NodeFacts(**row._mapping) for row in rows]


def _offers(session: Session, nodes: dict[str, NodeFacts]) -> list[OfferFacts]:
    present, free, memory = _gpus(session)
    rows = session.execute(
        select(Offer.id, Offer.node_id, Offer.unit, Offer.model, Offer.price_microusd_per_unit_hour)
        .where(Offer.ended_at.is_(None))
        .order_by(Offer.id)
    )
    offers: list[OfferFacts] = []
    for offer_id, node_id, unit, model, price in rows:
        if node_id not in nodes:
            continue
        key = (node_id, model)
        if unit is Unit.GPU:
            facts = OfferFacts(
                offer_id, node_id, unit, model, memory[key], present[key], tuple(free.get(key, ())), price
            )
        else:
            facts = OfferFacts(offer_id, node_id, unit, model, nodes[node_id].memory_total_bytes, 0, (), price)
        offers.append(facts)
    return offers


def _gpus(
    session: Session,
) -> tuple[dict[tuple[str, str], int], dict[tuple[str, str], list[int]], dict[tuple[str, str], int]]:
    """By node and model: how many GPUs are present, which of them may be leased and are not, and the least memory."""
    barred = exists().where(
        ProofStanding.node_id == Gpu.node_id, ProofStanding.device == Gpu.uuid, ProofStanding.state.in_(BARRED)
    )
    held = select(LeaseGpu.gpu_id).where(LeaseGpu.released_at.is_(None)).distinct().subquery()
    rows = session.execute(
        select(
            Gpu.id, Gpu.node_id, Gpu.model, Gpu.memory_bytes, or_(held.c.gpu_id.is_not(None), Gpu.quarantined, barred)
        )
        .outerjoin(held, held.c.gpu_id == Gpu.id)
        .where(Gpu.present)
        .order_by(Gpu.node_id, Gpu.index, Gpu.id)
    )
    present: dict[tuple[str, str], int] = defaultdict(int)
    free: dict[tuple[str, str], list[int]] = defaultdict(list)
    memory: dict[tuple[str, str], int] = defaultdict(int)
    for gpu_id, node_id, model, memory_bytes, unavailable in rows:
        key = (node_id, model)
        present[key] += 1
        memory[key] = min(memory[key] or memory_bytes, memory_bytes)
        if not unavailable:
            free[key].append(gpu_id)
    return present, free, memory
