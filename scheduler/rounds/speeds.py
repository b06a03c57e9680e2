"""What nodes measured of their network and of the way to their GPUs, as facts of a snapshot."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.orm import Session

from infra.statements import Statement
from market.measured import Measure
from scheduler.tables.proofs import NODE

BYTES_IN_MBIT, BYTES_IN_MB = 125_000, 1_000_000
DIGITS = 2
"""Figures are rounded down to so many: two measurements of one thing are mostly the same fact."""
_NETWORK = [Measure.NETWORK_UP.kind, Measure.NETWORK_DOWN.kind]
_PCIE = [Measure.PCIE_TO_DEVICE.kind, Measure.PCIE_TO_HOST.kind]

# Both ways, the slower one; of several GPUs the slowest, and of one that was not measured nothing is known.
_NETWORKS = Statement(
    """
    SELECT node_id, min(value) AS value FROM benchmarks
    WHERE device = :node AND kind = ANY(cast(:kinds AS text[])) GROUP BY node_id HAVING count(*) = 2
    """
)
_WAYS = Statement(
    """
    SELECT gpu.node_id, gpu.model, min(speed.value) AS value
    FROM gpus AS gpu JOIN benchmarks AS speed ON speed.node_id = gpu.node_id AND speed.device = gpu.uuid
        AND speed.kind = ANY(cast(:kinds AS text[]))
    WHERE gpu.present GROUP BY gpu.node_id, gpu.model
    HAVING count(*) = 2 * (
        SELECT count(*) FROM gpus AS every
        WHERE every.node_id = gpu.node_id AND every.model = gpu.model AND every.present
    )
    """
)


@dataclass(frozen=True, slots=True)
class Speeds:
    """network_mbit: by node. pcie_mb: by node and model."""

    network_mbit: Mapping[str, int]
    pcie_mb: Mapping[tuple[str, str], int]


def measured(session: Session) -> Speeds:
    """Of all nodes that have measured."""
    networks = _NETWORKS.rows(session, {"node": NODE, "kinds": _NETWORK})
    ways = _WAYS.rows(session, {"kinds": _PCIE})
    return Speeds(
        {row.node_id: coarse(row.value // BYTES_IN_MBIT) for row in networks},
        {(row.node_id, row.model): coarse(row.value // BYTES_IN_MB) for row in ways},
    )


def coarse(value: int) -> int:
    """Its first digits."""
    step: int = 10 ** max(len(str(value)) - DIGITS, 0)
    return value // step * step
