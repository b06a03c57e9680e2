"""Loading the market's rows into the snapshot that placement, search and quotes judge by."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from infra.statements import Statement
from market.components import ComponentPrices
from market.resources import Unit
from scheduler.placement.facts import NodeFacts, OfferFacts, version_of
from scheduler.placement.snapshot import Snapshot
from scheduler.proofs.judgement import BARRED
from scheduler.rounds import terms
from scheduler.rounds.speeds import measured

_NODES = Statement(
    """
    SELECT id AS node_id, provider_id, name, state = 'online' AS online, pool = 'ready' AS pool_ready, simulated,
        cpu_total_milli, cpu_free_milli, memory_total_bytes, memory_free_bytes, disk_total_bytes, disk_free_bytes,
        revision, quarantined OR barred AS quarantined, cast(verified AS integer) AS tier,
        driver_version AS driver, cuda_version AS cuda
    FROM nodes WHERE state <> 'gone' ORDER BY id
    """
)
_OFFERS = Statement(
    """
    SELECT id AS offer_id, node_id, unit, model, price_microusd_per_unit_hour,
        CASE WHEN cpu_microusd_per_hour + memory_microusd_per_gib_hour + disk_microusd_per_gib_hour > 0
            THEN ARRAY[cpu_microusd_per_hour, memory_microusd_per_gib_hour, disk_microusd_per_gib_hour]
        END AS components
    FROM offers WHERE ended_at IS NULL ORDER BY id
    """
)
# By node and model: how many GPUs are present, the least that one of them is, and which may be leased and are not.
_CARDS = """
    SELECT gpu.node_id, gpu.model, count(*) AS gpu_count, min(gpu.memory_bytes) AS memory_bytes,
        coalesce(min(gpu.mig_profile), '') AS mig, min(gpu.compute_capability) AS compute_capability,
        min(coalesce(gpu.nvlinks, 0)) > 0 AS nvlink,
        array_agg(gpu.id ORDER BY gpu.index, gpu.id) FILTER (WHERE NOT gpu.quarantined AND NOT EXISTS (
            SELECT FROM lease_gpus AS held WHERE held.gpu_id = gpu.id AND held.released_at IS NULL
        ) AND NOT EXISTS (
            SELECT FROM proof_standings AS proof
            WHERE proof.node_id = gpu.node_id AND proof.device = gpu.uuid AND proof.state = ANY(cast(:barred AS text[]))
        )) AS free_gpus
    FROM gpus AS gpu WHERE gpu.present{which}
    GROUP BY gpu.node_id, gpu.model
"""
_GPUS = Statement(_CARDS.format(which=""))
_GPUS_OF = Statement(_CARDS.format(which=" AND gpu.node_id = ANY(cast(:nodes AS text[]))"))


def load(session: Session) -> Snapshot:
    """Every standing offer on a node that is not gone. Nothing is locked: a decision is checked when it is applied."""
    return load_until(session)[0]


def load_until(session: Session) -> tuple[Snapshot, datetime | None]:
    """The same, and when the clock alone makes some of it untrue; None: never."""
    # Their revisions first: who changes what is read after them makes a decision by it stale, not wrong.
    rows = _NODES.rows(session, {})
    said, speeds = terms.said(session), measured(session)
    nodes = [_node(row, said.of_nodes.get(row.node_id, {}), speeds.network_mbit.get(row.node_id, 0)) for row in rows]
    offers = _offers(session, {node.node_id: node for node in nodes}, said.of_offers, speeds.pcie_mb)
    return Snapshot(nodes, offers), said.until


def cards_of(session: Session, node_ids: Collection[str]) -> dict[tuple[str, str], dict[str, Any]]:
    """What the offers of these nodes say of their GPUs now, as fields of OfferFacts, by node and model."""
    rows = _GPUS_OF.rows(session, {"barred": list(BARRED), "nodes": list(node_ids)})
    return {(row.node_id, row.model): _card(row) for row in rows}


def _node(row: Any, said: Mapping[str, Any], network_mbit: int) -> NodeFacts:
    facts = row._asdict()
    facts["driver"], facts["cuda"] = version_of(row.driver), version_of(row.cuda)
    return NodeFacts(**facts, **said, network_mbit=network_mbit)


def _offers(
    session: Session,
    nodes: Mapping[str, NodeFacts],
    said: Mapping[str, Mapping[str, Any]],
    pcie_mb: Mapping[tuple[str, str], int],
) -> list[OfferFacts]:
    cards = {(row.node_id, row.model): row for row in _GPUS.rows(session, {"barred": list(BARRED)})}
    return [
        OfferFacts(
            row.offer_id,
            row.node_id,
            Unit(row.unit),
            row.model,
            price_microusd_per_unit_hour=row.price_microusd_per_unit_hour,
            **(_card(cards.get((row.node_id, row.model))) if row.unit == Unit.GPU else _cpus(nodes[row.node_id])),
            **said.get(row.node_id, {}),
            pcie_mb=pcie_mb.get((row.node_id, row.model), 0) if row.unit == Unit.GPU else 0,
            components=ComponentPrices(*row.components) if row.components else None,
        )
        for row in _OFFERS.rows(session, {})
        if row.node_id in nodes
    ]


def _card(row: Any) -> dict[str, Any]:
    """The GPUs of one model on one node; None: none of them is present."""
    if row is None:
        return {"memory_bytes": 0, "gpu_count": 0, "free_gpus": ()}
    return {
        "memory_bytes": row.memory_bytes,
        "gpu_count": row.gpu_count,
        "free_gpus": tuple(row.free_gpus or ()),
        "mig": row.mig,
        "compute_capability": version_of(row.compute_capability),
        "nvlink": row.nvlink,
    }


def _cpus(node: NodeFacts) -> dict[str, Any]:
    return {"memory_bytes": node.memory_total_bytes, "gpu_count": 0, "free_gpus": ()}
