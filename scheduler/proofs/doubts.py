"""What of a device does not fit together: its facts and its name, driver and CUDA, energy and power.

Doubts prove nothing and change nothing but when it is audited next. Pure, but for the reading of the rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from scheduler.proofs.cards import busy_contradictions, contradictions
from scheduler.tables import Gpu, GpuMinute, Node

LOOKED_BACK = timedelta(hours=2)
MINUTES_MIN = 10
"""Fewer minutes say nothing of a counter."""
SAMPLES_MIN = 30
ENERGY_SHARES = (0.6, 1.6)
"""Of power times time, within which an energy counter is believed: samples of a second miss what lies between them."""
WATTS_MIN = 20
"""Below it a card rounds more than it measures."""

CUDA_OF_BRANCH = (
    (580, (13, 0)), (575, (12, 9)), (570, (12, 8)), (565, (12, 7)), (560, (12, 6)), (555, (12, 5)), (550, (12, 4)),
    (545, (12, 3)), (535, (12, 2)), (530, (12, 1)), (525, (12, 0)), (520, (11, 8)), (515, (11, 7)), (510, (11, 6)),
)  # fmt: skip
"""Which CUDA a driver of that branch, or a later one, brings along (NVIDIA, CUDA release notes, table 3)."""


@dataclass(frozen=True, slots=True)
class Minute:
    """samples: of about a second each; the rest as the agent tells it."""

    samples: int
    power_milliwatts: int | None
    energy_millijoules: int | None
    clock_max_mhz: int | None


def of_device(session: Session, gpu: Gpu, multiprocessors: int | None, now: datetime) -> list[str]:
    """All that is doubtful about a GPU now. multiprocessors: as its runtime counted them in a proof."""
    node = session.get_one(Node, gpu.node_id)
    rows = session.scalars(select(GpuMinute).where(GpuMinute.gpu_id == gpu.id, GpuMinute.minute_at > now - LOOKED_BACK))
    minutes = [
        Minute(
            row.samples,
            row.power_milliwatts[1] if row.power_milliwatts else None,
            row.energy_millijoules,
            row.sm_clock_mhz[2] if row.sm_clock_mhz else None,
        )
        for row in rows
    ]
    fastest = max((minute.clock_max_mhz for minute in minutes if minute.clock_max_mhz is not None), default=None)
    return [
        *of_facts(gpu, node),
        *busy_contradictions(gpu.model, multiprocessors, fastest),
        *of_energy(minutes),
    ]


def of_facts(gpu: Gpu, node: Node) -> list[str]:
    """What does not fit in what the agent says that the device is."""
    told = (gpu.model, gpu.memory_bytes, gpu.compute_capability, gpu.power_limit_milliwatts, gpu.pci_device_id)
    return [*contradictions(*told), *of_driver(node.driver_version, node.cuda_version)]


def of_driver(driver: str | None, cuda: str | None) -> list[str]:
    """A driver brings its CUDA along; a newer one may be laid over it, an older one may not."""
    branch, told = _version(driver), _version(cuda)
    if branch is None or told is None:
        return []
    brings = next((version for first, version in CUDA_OF_BRANCH if branch[0] >= first), None)
    if brings is None or told >= brings:
        return []
    return [f"driver {driver} brings CUDA {brings[0]}.{brings[1]}, not {cuda}"]


def of_energy(minutes: Sequence[Minute]) -> list[str]:
    """Whether the energy counter ran as the power says."""
    full = [each for each in minutes if each.samples >= SAMPLES_MIN]
    pairs = [
        (each.energy_millijoules, each.power_milliwatts * (each.samples - 1))
        for each in full
        if each.energy_millijoules is not None and each.power_milliwatts is not None
    ]
    expected = sum(drawn for _, drawn in pairs)
    seconds = sum(each.samples - 1 for each in full)
    if len(pairs) < MINUTES_MIN or expected < WATTS_MIN * 1000 * seconds:
        return []
    share = sum(energy for energy, _ in pairs) / expected
    if ENERGY_SHARES[0] <= share <= ENERGY_SHARES[1]:
        return []
    return [f"its energy counter ran at {share:.2f} of its power"]


def _version(text: str | None) -> tuple[int, int] | None:
    parts = (text or "").split(".")
    if len(parts) < 2 or not all(part.isascii() and part.isdigit() for part in parts[:2]):
        return None
    return int(parts[0]), int(parts[1])
