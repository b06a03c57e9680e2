"""What of a card is a device of its own: the card, or the slices that it is cut into (MIG).

What a slice shares with its card is asked of the card. Whole figures of all slices together, such as power, are
unknown of one.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MIG_MINORS = Path("/proc/driver/nvidia-caps/mig-minors")
"""Which file below /dev/nvidia-caps opens which instance (NVIDIA, "MIG User Guide", device nodes and capabilities)."""
CAPABILITY_FILE = "/dev/nvidia-caps/nvidia-cap{}"
NO_INSTANCE = 0xFFFFFFFF
"""What NVML says for the instance of a fault that concerns the whole card."""

_PROFILE = re.compile(r"\bMIG ((?:\d{1,2}c\.)?\d{1,2}g\.\d{1,4}gb(?:[+-][a-z.]{1,12})*)$")
_SHARING = re.compile(r"\d+c\.")
_OF_A_SLICE = frozenset(
    {
        "nvmlDeviceGetName",
        "nvmlDeviceGetMemoryInfo",
        "nvmlDeviceGetUtilizationRates",
        "nvmlDeviceGetComputeRunningProcesses",
    }
)
"""What a slice is asked itself. All else belongs to its card, its heat and its memory errors as much as its clocks."""
_OF_ALL_SLICES = frozenset(
    {
        "nvmlDeviceGetPowerUsage",
        "nvmlDeviceGetTotalEnergyConsumption",
        "nvmlDeviceGetEnforcedPowerLimit",
        "nvmlDeviceGetPowerManagementDefaultLimit",
        "nvmlDeviceGetNvLinkState",
    }
)
"""What a card tells of all its slices together, or what no slice has: of one slice it is unknown."""

Told = Callable[..., Any]
"""The answer of a function of the binding, or None."""


@dataclass(frozen=True, slots=True)
class Device:
    """index, card: of its card, whose handle is its own where it is whole. profile: None for a whole card."""

    uuid: str
    index: int
    handle: Any
    card: Any
    card_uuid: str
    profile: str | None = None
    gpu_instance: int | None = None
    compute_instance: int | None = None

    def asked_for(self, name: str) -> Any:
        """The handle that this function of the binding is asked with; None where the device has no such figure."""
        if self.profile is None or name in _OF_A_SLICE:
            return self.handle
        return None if name in _OF_ALL_SLICES else self.card


def is_cut(nvml: Any, told: Told, card: Any) -> bool | None:
    """Whether the card is in MIG mode; None for one that does not tell, as all that cannot be cut."""
    mode = told(nvml.nvmlDeviceGetMigMode, card)
    return None if mode is None else bool(mode[0])


def slices_of(nvml: Any, told: Told, index: int, card: Any, card_uuid: str) -> list[Device]:
    """The slices of a card in MIG mode, as far as they tell their UUIDs and profiles."""
    found = []
    for number in range(told(nvml.nvmlDeviceGetMaxMigDeviceCount, card) or 0):
        handle = told(nvml.nvmlDeviceGetMigDeviceHandleByIndex, card, number)
        uuid = None if handle is None else told(nvml.nvmlDeviceGetUUID, handle)
        profile = None if uuid is None else _profile(nvml, told, handle, card)
        if uuid is None or profile is None:
            continue
        instance = told(nvml.nvmlDeviceGetGpuInstanceId, handle)
        compute = told(nvml.nvmlDeviceGetComputeInstanceId, handle)
        found.append(Device(uuid, index, handle, card, card_uuid, profile, instance, compute))
    return found


def has_its_own_memory(slice_: Device) -> bool:
    """Of compute instances such as 1c.3g.20gb several lie in one memory: whoever has one takes it from the others."""
    return slice_.profile is not None and _SHARING.match(slice_.profile) is None


def capabilities(minors: Path) -> Mapping[str, str]:
    """The files that open instances, by names such as gpu0/gi1/access; none where the driver does not tell."""
    try:
        lines = minors.read_text(errors="replace").splitlines()
    except OSError:
        return {}
    words = (line.split() for line in lines)
    return {pair[0]: CAPABILITY_FILE.format(pair[1]) for pair in words if len(pair) == 2 and pair[1].isdecimal()}


def files_of(device: Device, minor: int, opened_by: Mapping[str, str]) -> tuple[str, ...] | None:
    """What a process needs under /dev for this device alone; None for a slice that nothing is known to open."""
    card = f"/dev/nvidia{minor}"
    if device.profile is None:
        return (card,)
    instance = f"gpu{minor}/gi{device.gpu_instance}"
    names = (f"{instance}/access", f"{instance}/ci{device.compute_instance}/access")
    return (card, *(opened_by[name] for name in names)) if all(name in opened_by for name in names) else None


def _profile(nvml: Any, told: Told, handle: Any, card: Any) -> str | None:
    """As the slice's name has it, else by what it consists of."""
    name = told(nvml.nvmlDeviceGetName, handle)
    match = _PROFILE.search(name or "")
    if match is not None:
        return match[1]
    parts = told(nvml.nvmlDeviceGetAttributes_v2, handle)
    whole = told(nvml.nvmlDeviceGetMemoryInfo, card)
    if parts is None or whole is None or not parts.gpuInstanceSliceCount:
        return None
    slices, compute = parts.gpuInstanceSliceCount, parts.computeInstanceSliceCount
    gigabytes = _nominal_gigabytes(parts.memorySizeMB * 2**20, int(whole.total))
    return f"{'' if compute == slices else f'{compute}c.'}{slices}g.{gigabytes}gb"


def _nominal_gigabytes(part_bytes: int, whole_bytes: int) -> int:
    """Memory is cut into eighths, and a profile's name tells its eighths of the card's size (so does go-nvlib)."""
    eighths = -(-part_bytes * 8 // whole_bytes)
    return round(eighths * -(-whole_bytes // 2**30) / 8)
