"""What can be wrong with a node or one of its GPUs: the codes, what each means, how it is mended, what it costs.

A condition is what an agent says of itself. That a node says it is well proves nothing; that it is not is believed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from market.resources import GPU_COUNT_MAX

CONDITIONS_MAX = GPU_COUNT_MAX * 16
MINUTES_KEPT_MAX = 10
"""Minutes of telemetry that an agent keeps while the portal does not take them."""


class HealthCode(StrEnum):
    """Stable words; a newer agent and an older portal must agree on them."""

    GPU_LOST = "gpu_lost"
    GPU_SILENT = "gpu_silent"
    GPU_NEEDS_RESET = "gpu_needs_reset"
    XID_HARDWARE = "xid_hardware"
    XID_RECENT = "xid_recent"
    ECC_UNCORRECTED = "ecc_uncorrected"
    ECC_STORM = "ecc_storm"
    MEMORY_WORN_OUT = "memory_worn_out"
    MEMORY_REPAIR_PENDING = "memory_repair_pending"
    TOO_HOT = "too_hot"
    SLOWED_BY_HEAT = "slowed_by_heat"
    POWER_BRAKE = "power_brake"
    POWER_OVER_LIMIT = "power_over_limit"
    POWER_CAPPED = "power_capped"
    MIG_MODE = "mig_mode"
    PCIE_NARROW = "pcie_narrow"
    NVLINK_DOWN = "nvlink_down"
    USED_BY_OTHERS = "used_by_others"
    UUID_TWICE = "uuid_twice"
    NOT_ITS_NAME = "not_its_name"
    NOT_IN_POOL = "not_in_pool"
    GPU_UNNAMED = "gpu_unnamed"
    DRIVER_UNREADY = "driver_unready"
    DRIVER_SILENT = "driver_silent"
    DRIVER_HUNG = "driver_hung"
    DRIVER_MISMATCH = "driver_mismatch"
    DRIVER_OLD = "driver_old"
    DISK_FULL = "disk_full"
    DISK_READ_ONLY = "disk_read_only"
    CLOCK_OFF = "clock_off"


@dataclass(frozen=True, slots=True)
class Advice:
    """quarantines: nothing is placed there while it stands. Without it the condition is told and nothing else."""

    quarantines: bool
    reason: str
    remedy: str


_RESET = "end what uses the GPU, stop the agent and run `nvidia-smi --gpu-reset -i INDEX`, or reboot"
_COOL = "clean filters and fans, look at the airflow and the room, or lower the limit: `nvidia-smi -pl WATTS`"
ADVICE: dict[HealthCode, Advice] = {
    HealthCode.GPU_LOST: Advice(
        True,
        "the GPU has fallen off the bus",
        "reboot; if it comes back only to go again, look at its power cables and its slot",
    ),
    HealthCode.GPU_SILENT: Advice(
        True, "the driver has no answers about this GPU", "reboot; then look at `dmesg | grep NVRM`"
    ),
    HealthCode.GPU_NEEDS_RESET: Advice(True, "the driver says that this GPU must be reset", _RESET),
    HealthCode.XID_HARDWARE: Advice(True, "the driver reported a fault of the hardware (Xid)", _RESET),
    HealthCode.XID_RECENT: Advice(
        True,
        "the driver reported a fault that it recovered from (Xid)",
        "nothing, unless it comes again: it counts as well after ten quiet minutes",
    ),
    HealthCode.ECC_UNCORRECTED: Advice(True, "the GPU's memory had errors that could not be corrected", _RESET),
    HealthCode.ECC_STORM: Advice(
        False, "the GPU's memory corrects errors at a high rate", "watch it; have the card tested if it goes on"
    ),
    HealthCode.MEMORY_WORN_OUT: Advice(
        True, "a bad row of the GPU's memory could not be replaced by a spare one", "replace the card (RMA)"
    ),
    HealthCode.MEMORY_REPAIR_PENDING: Advice(
        True, "bad memory is to be replaced by spare memory at the next reset", _RESET
    ),
    HealthCode.TOO_HOT: Advice(True, "the GPU is too hot", _COOL),
    HealthCode.SLOWED_BY_HEAT: Advice(False, "the GPU slows itself down because of its temperature", _COOL),
    HealthCode.POWER_BRAKE: Advice(
        True, "the machine holds the GPU's power back (power brake)", "look at the power supply and its cables"
    ),
    HealthCode.POWER_OVER_LIMIT: Advice(
        True, "the GPU draws far more power than its limit", "reboot; if it goes on, have the card tested"
    ),
    HealthCode.POWER_CAPPED: Advice(
        False,
        "the GPU's power limit is less than half of its usual one",
        "if that is not on purpose: `nvidia-smi -pl WATTS`; its speed is what is proven, not what is usual",
    ),
    HealthCode.MIG_MODE: Advice(
        True,
        "the card was cut otherwise than before (MIG), and this device of it is gone",
        "restart the agent: it then offers what the card is cut into now; `nvidia-smi -i INDEX -mig 0` makes it whole",
    ),
    HealthCode.PCIE_NARROW: Advice(
        False,
        "the GPU's PCIe link has fewer lanes than it could",
        "reseat the card, and look at the slot and the riser",
    ),
    HealthCode.NVLINK_DOWN: Advice(
        False, "some of the GPU's NVLinks are down", "reseat the bridge, or look at nvidia-fabricmanager"
    ),
    HealthCode.USED_BY_OTHERS: Advice(
        False,
        "a process that is no job of the market computes on this GPU",
        "end it, or withdraw the offer while it runs",
    ),
    HealthCode.UUID_TWICE: Advice(True, "two devices of this machine say the same UUID", "reinstall NVIDIA's driver"),
    HealthCode.NOT_ITS_NAME: Advice(
        False, "memory or compute capability are not those of a card of this name", "reinstall NVIDIA's driver"
    ),
    HealthCode.NOT_IN_POOL: Advice(
        True, "the GPU appeared after the agent had started", "restart the agent: its pool then knows this GPU"
    ),
    HealthCode.GPU_UNNAMED: Advice(
        False,
        "a device is not offered, for what it tells of itself is too little",
        "look at `nvidia-smi -q`, then reboot; a card in MIG mode is cut by `nvidia-smi mig -i INDEX -cgi PROFILE -C`",
    ),
    HealthCode.DRIVER_UNREADY: Advice(
        False,
        "the NVIDIA driver did not answer when the agent started, so no GPU is offered",
        "`nvidia-smi` must list the GPUs; then restart the agent",
    ),
    HealthCode.DRIVER_SILENT: Advice(
        True, "the NVIDIA driver does not answer", "look at `nvidia-smi`; load the driver again, or reboot"
    ),
    HealthCode.DRIVER_HUNG: Advice(True, "the NVIDIA driver hangs", "reboot: a hung driver cannot be unloaded"),
    HealthCode.DRIVER_MISMATCH: Advice(
        True, "the driver was changed under the agent: library and kernel module differ", "reboot, or restart the agent"
    ),
    HealthCode.DRIVER_OLD: Advice(
        True, "the NVIDIA driver is older than what today's CUDA needs", "install driver 525.60 or newer"
    ),
    HealthCode.DISK_FULL: Advice(True, "the disk for jobs is full", "free space where the agent's state folder lies"),
    HealthCode.DISK_READ_ONLY: Advice(
        True, "the disk for jobs cannot be written", "look at `dmesg` for disk errors, then mount it writable again"
    ),
    HealthCode.CLOCK_OFF: Advice(
        True, "the machine's clock is off by more than 30 seconds", "let it set its clock: timedatectl set-ntp true"
    ),
}


AWAITS_PROOF = "awaits_proof"
"""What the portal itself holds against a GPU that was in quarantine and is well again, by its agent's word."""
PROOF_DUE = Advice(
    True,
    "the GPU was in quarantine and must prove itself before it is leased again",
    "nothing: it is challenged within half a minute. If no proof comes, look at the agent's log; its Python, or that "
    "of its jobs, needs CuPy or PyTorch",
)


class Condition(BaseModel):
    """Something that stands against a GPU (gpu_uuid), or against the whole node (None). detail: figures, for people."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: HealthCode
    gpu_uuid: str | None = Field(default=None, min_length=5, max_length=64, pattern=r"^[A-Za-z0-9-]+$")
    detail: str = Field(default="", max_length=200)

    @property
    def advice(self) -> Advice:
        return ADVICE[self.code]


SAMPLE_MAX = 2**31 - 1
ENERGY_MAX = 2**53
Sample = Annotated[int, Field(ge=-SAMPLE_MAX, le=SAMPLE_MAX)]
Spread = tuple[Sample, Sample, Sample]
"""The least, the mean and the most of a minute's samples."""


class GpuMinute(BaseModel):
    """One minute of one GPU. ago_seconds: since it ended, by a clock that nobody sets. None: the device did not tell.

    energy_millijoules: used in that minute; throttled_samples: how many saw clocks held down by heat or power brake.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpu_uuid: str = Field(min_length=5, max_length=64, pattern=r"^[A-Za-z0-9-]+$")
    ago_seconds: float = Field(ge=0, le=86_400)
    samples: int = Field(ge=1, le=1_000)
    busy_percent: Spread | None = None
    memory_used_mib: Spread | None = None
    temperature_c: Spread | None = None
    power_milliwatts: Spread | None = None
    sm_clock_mhz: Spread | None = None
    energy_millijoules: int | None = Field(default=None, ge=0, le=ENERGY_MAX)
    throttled_samples: int = Field(default=0, ge=0, le=1_000)


def quarantined(conditions: Iterable[Condition]) -> bool:
    """Whether one of them is such that nothing may be placed there."""
    return any(condition.advice.quarantines for condition in conditions)
