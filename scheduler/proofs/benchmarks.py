"""What nodes were measured to do at proof time: by the market's own clock, or marked as the agent's word."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from market.proof_api import NodeSpeeds
from scheduler.tables import Benchmark, ProofChallenge

MATRIX = "matrix_operations_per_second"
MEMORY = "memory_bytes_per_second"
MEMORY_TOLD_BYTES_MIN = 10**9
"""From so much kept memory on, the time of its reading is more than that of the way to the portal."""


def note(session: Session, row: ProofChallenge, speeds: NodeSpeeds, now: datetime) -> None:
    """Keep the newest figures of a device whose proof passed."""
    assert row.committed_at is not None and row.remembered_at is not None
    figures: list[tuple[str, int, bool]] = [(MATRIX, row.operations_per_second or 0, True)]
    kept_bytes = 4 * row.size**2 * row.kept
    seconds = (row.remembered_at - row.committed_at).total_seconds()
    if kept_bytes >= MEMORY_TOLD_BYTES_MIN and seconds > 0:
        figures.append((MEMORY, round(kept_bytes / seconds), True))
    told = speeds.model_dump(exclude_none=True)
    figures += [(f"{kind}_bytes_per_second", value, False) for kind, value in told.items()]
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


def of_nodes(session: Session, node_ids: Collection[str]) -> dict[str, list[Benchmark]]:
    """The figures of these nodes' devices."""
    found: dict[str, list[Benchmark]] = {node_id: [] for node_id in node_ids}
    if not found:
        return found
    rows = session.scalars(
        select(Benchmark)
        .where(Benchmark.node_id.in_(found))
        .order_by(Benchmark.node_id, Benchmark.device, Benchmark.kind)
    )
    for row in rows:
        found[row.node_id].append(row)
    return found
