"""What GPUs tell at one moment, whoever told it: NVML, or the exporter of DCGM. None is what a device does not tell."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

THROTTLE_HW_SLOWDOWN = 0x08
THROTTLE_SW_THERMAL = 0x20
THROTTLE_HW_THERMAL = 0x40
THROTTLE_POWER_BRAKE = 0x80
"""Bits of NVML's clocks event reasons (nvmlClocksEventReason...)."""


class Trouble(StrEnum):
    """Why a device, or the whole driver, does not answer."""

    LOST = "lost"
    NEEDS_RESET = "needs_reset"
    SILENT = "silent"
    MISMATCH = "mismatch"


@dataclass(frozen=True, slots=True)
class Pulse:
    """What changes from second to second."""

    busy_percent: int | None = None
    memory_busy_percent: int | None = None
    memory_used_bytes: int | None = None
    memory_free_bytes: int | None = None
    temperature_c: int | None = None
    power_milliwatts: int | None = None
    energy_millijoules: int | None = None
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    throttle: int | None = None


@dataclass(frozen=True, slots=True)
class Checkup:
    """What changes seldom and costs more to ask: looked at every few seconds.

    rows_*: memory rows replaced by spare ones; processes: the PIDs that compute on it.
    """

    memory_temperature_c: int | None = None
    slowdown_at_c: int | None = None
    power_limit_milliwatts: int | None = None
    power_limit_usual_milliwatts: int | None = None
    ecc_corrected: int | None = None
    ecc_uncorrected: int | None = None
    rows_corrected: int | None = None
    rows_uncorrected: int | None = None
    rows_pending: bool | None = None
    rows_failed: bool | None = None
    retirement_pending: bool | None = None
    pcie_width: int | None = None
    pcie_width_max: int | None = None
    pcie_replays: int | None = None
    nvlinks: int | None = None
    nvlinks_active: int | None = None
    processes: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One device. trouble: it answers nothing, for this reason. profile: DCGM_FI_PROF_* as its exporter has them."""

    uuid: str
    index: int
    pulse: Pulse = Pulse()
    checkup: Checkup = Checkup()
    trouble: Trouble | None = None
    profile: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class XidEvent:
    """NVIDIA's number of a fault, as the driver told it."""

    uuid: str
    xid: int


@dataclass(frozen=True, slots=True)
class Look:
    """All devices at one moment.

    driver: None when it answers, else why not, with driver_words; unnamed: what of devices cannot be offered, and why;
    twice: UUIDs that two devices say; recut: devices of cards that answer and are cut otherwise now (MIG), or whole
    again; xids: what was reported since the look before.
    """

    devices: tuple[GpuReading, ...] = ()
    driver: Trouble | None = None
    driver_words: str = ""
    driver_version: str | None = None
    unnamed: tuple[str, ...] = ()
    twice: frozenset[str] = frozenset()
    recut: frozenset[str] = frozenset()
    xids: tuple[XidEvent, ...] = ()
    by_uuid: dict[str, GpuReading] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_uuid", {device.uuid: device for device in self.devices})
