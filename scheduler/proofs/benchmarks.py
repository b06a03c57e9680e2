"""What nodes were measured to do at proof time: by the market's own clock, or marked as the agent's word."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from market.proof_api import NodeSpeeds
from scheduler.tables import Benchmark, Gpu, ProofChallenge
from scheduler.tables.offers import CPU_MODEL
from scheduler.tables.proofs import CPU

MATRIX = "matrix_operations_per_second"
MEMORY = "memory_bytes_per_second"
MEMORY_TOLD_BYTES_MIN = 10**9
"""From so much kept memory on, the time of its reading is more than that of the way to the portal."""


def note(session: Session, row: ProofChallenge, speeds: NodeSpeeds, now: datetime) -> None:
    """Keep the newest figures of a device whose proof passed."""
    assert row.committed_at is not None and row.remembered_at is not None
    figures: list[tuple[str, int, bool]] = []
    if row.model is not None:  # A CPU's small proof takes as long as the way to the portal.
        figures.append((MATRIX, row.operations_per_second or 0, True))
    kept_bytes = 4 * row.size**2 * row.kept
    seconds = (row.remembered_at - row.committed_at).total_seconds()
    if kept_bytes >= MEMORY_TOLD_BYTES_MIN and seconds > 0:
        figures.append((MEMORY, round(kept_bytes / seconds), True))
    told = speeds.model_dump(exclude_none=True)
    figures += [(f"{kind}_bytes_per_second", value, False) for kind, value in told.items()]
    if not figures:
        return
    values = [
        {
            "node_id": row.node_id,
            "device": row.device,
            "kind": kind,
            "value": value,
            "by_market": by_market,
            "challenge_id": row.id,
            "measured_at": now,
        }
        for kind, value, by_market in figures
    ]
    statement = insert(Benchmark).values(values)
    fresh = {name: statement.excluded[name] for name in ("value", "by_market", "challenge_id", "measured_at")}
    session.execute(statement.on_conflict_do_update(index_elements=["node_id", "device", "kind"], set_=fresh))


def of_offers(session: Session, offers: Collection[tuple[str, str]]) -> dict[tuple[str, str], dict[str, int]]:
    """By node and model (CPU for its processors): the least figure of each kind over the devices that are offered."""
    found: dict[tuple[str, str], dict[str, int]] = {}
    rows = session.execute(
        select(Benchmark.node_id, func.coalesce(Gpu.model, CPU_MODEL), Benchmark.kind, func.min(Benchmark.value))
        .outerjoin(Gpu, (Gpu.node_id == Benchmark.node_id) & (Gpu.uuid == Benchmark.device) & Gpu.present)
        .where(Benchmark.node_id.in_({node_id for node_id, _ in offers}))
        .where((Benchmark.device == CPU) | Gpu.id.is_not(None))
        .group_by(Benchmark.node_id, Gpu.model, Benchmark.kind)
    )
    for node_id, model, kind, least in rows:
        found.setdefault((node_id, model), {})[kind] = least
    return found
