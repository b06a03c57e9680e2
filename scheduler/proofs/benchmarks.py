"""What nodes were measured to do at proof time: by the market's own clock, or marked as the agent's word."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from market.measured import Measure
from market.proof_api import NodeSpeeds
from scheduler.tables import Benchmark, Gpu, ProofChallenge
from scheduler.tables.offers import CPU_MODEL
from scheduler.tables.proofs import CPU, NODE

MEMORY_TOLD_BYTES_MIN = 10**9
"""From so much kept memory on, the time of its reading is more than that of the way to the portal."""
OF_THE_NODE = {Measure.DISK_WRITE, Measure.DISK_READ, Measure.NETWORK_UP, Measure.NETWORK_DOWN}


def note(session: Session, row: ProofChallenge, speeds: NodeSpeeds, now: datetime) -> None:
    """Keep the newest figures of a device whose proof passed."""
    assert row.committed_at is not None and row.remembered_at is not None
    told = {Measure(name): value for name, value in speeds.model_dump(exclude_none=True).items()}
    figures = [(measure, value, False) for measure, value in told.items()]
    if row.model is not None:  # A CPU's small proof takes as long as the way to the portal.
        figures.append((Measure.MATRIX, row.operations_per_second or 0, True))
    kept_bytes = 4 * row.size**2 * row.kept
    seconds = (row.remembered_at - row.committed_at).total_seconds()
    if kept_bytes >= MEMORY_TOLD_BYTES_MIN and seconds > 0:
        figures.append((Measure.MEMORY, round(kept_bytes / seconds), True))
    if not figures:
        return
    values = [
        {
            "node_id": row.node_id,
            "device": NODE if measure in OF_THE_NODE else row.device,
            "kind": measure.kind,
            "value": value,
            "by_market": by_market,
            "challenge_id": row.id,
            "measured_at": now,
        }
        for measure, value, by_market in figures
    ]
    statement = insert(Benchmark).values(values)
    fresh = {name: statement.excluded[name] for name in ("value", "by_market", "challenge_id", "measured_at")}
    session.execute(statement.on_conflict_do_update(index_elements=["node_id", "device", "kind"], set_=fresh))


def of_offers(session: Session, offers: Collection[tuple[str, str]]) -> dict[tuple[str, str], dict[str, int]]:
    """By node and model (CPU for its processors): the node's own figures, and of each kind of its devices' the least of
    those that are offered."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    rows = session.execute(
        select(Benchmark.node_id, Benchmark.device, Gpu.model, Benchmark.kind, Benchmark.value)
        .outerjoin(Gpu, (Gpu.node_id == Benchmark.node_id) & (Gpu.uuid == Benchmark.device) & Gpu.present)
        .where(Benchmark.node_id.in_({node_id for node_id, _ in offers}))
        .where(Benchmark.device.in_((CPU, NODE)) | Gpu.id.is_not(None))
    )
    for node_id, device, model, kind, value in rows:
        kinds = found.setdefault((node_id, NODE if device == NODE else model or CPU_MODEL), {})
        kinds[kind] = min(value, kinds.get(kind, value))
    return {(node, model): found.get((node, NODE), {}) | found.get((node, model), {}) for node, model in offers}
