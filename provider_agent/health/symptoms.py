"""What a look shows that should not be. Pure: no clock, no memory but what is standing already."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from market.health import HealthCode
from provider_agent.gpus.readings import (
    THROTTLE_HW_SLOWDOWN,
    THROTTLE_HW_THERMAL,
    THROTTLE_POWER_BRAKE,
    THROTTLE_SW_THERMAL,
    Checkup,
    GpuReading,
    Look,
    Pulse,
    Trouble,
)
from provider_agent.health.surroundings import FILES_FREE_MIN, DiskReading, Surroundings

DRIVER_MIN = (525, 60)
"""What CUDA 12 needs at least (NVIDIA, "CUDA Compatibility", minor version compatibility: 525.60.13)."""
HOT_C, COOLER_BY_C = 95, 10
"""Where the driver names no threshold; and how far below it the card must get to count as cool again."""
MEMORY_HOT_C = 105
POWER_OVER_PERCENT, POWER_CAP_PERCENT = 130, 50
ECC_STORM_ERRORS = 20
"""Corrected errors between two check-ups, a few seconds apart."""
DISK_FULL_BYTES, DISK_WELL_BYTES = 10**9, 2 * 10**9
CLOCK_OFF_SECONDS = 30.0
HUNG_SECONDS = 10.0

_LOST = {Trouble.LOST: HealthCode.GPU_LOST, Trouble.NEEDS_RESET: HealthCode.GPU_NEEDS_RESET}

Key = tuple[HealthCode, str | None]


@dataclass(frozen=True, slots=True)
class Symptom:
    """uuid: None for the whole node. detail: the figures, for people."""

    code: HealthCode
    uuid: str | None = None
    detail: str = ""

    @property
    def key(self) -> Key:
        return self.code, self.uuid


def symptoms(look: Look, around: Surroundings, before: Look, standing: Collection[Key]) -> Iterator[Symptom]:
    """before: the look before this one. standing: what was found and still holds, which ends later than it began."""
    yield from _of_driver(look, around)
    for uuid in sorted(look.twice):
        yield Symptom(HealthCode.UUID_TWICE, uuid)
    for device in look.devices:
        if device.trouble is not None:
            yield Symptom(_LOST.get(device.trouble, HealthCode.GPU_SILENT), device.uuid)
            continue
        yield from _of_pulse(device, standing)
        yield from _of_memory(device, before.by_uuid.get(device.uuid))
        yield from _of_links(device.uuid, device.checkup)
        yield from _of_use(device, around)
    yield from _of_node(around, standing)


def _of_driver(look: Look, around: Surroundings) -> Iterator[Symptom]:
    """A driver that does not answer stands against every GPU that it once showed."""
    if around.hung_seconds >= HUNG_SECONDS:
        yield from _against(around.seen, HealthCode.DRIVER_HUNG, f"no answer for {around.hung_seconds:.0f} s")
        return
    if look.driver is not None:
        code = HealthCode.DRIVER_MISMATCH if look.driver is Trouble.MISMATCH else HealthCode.DRIVER_SILENT
        yield from _against(around.seen, code, look.driver_words)
        return
    for words in look.unnamed:
        yield Symptom(HealthCode.GPU_UNNAMED, None, words)
    for uuid in sorted(around.seen - look.by_uuid.keys()):
        recut = uuid in look.recut
        yield Symptom(HealthCode.MIG_MODE if recut else HealthCode.GPU_LOST, uuid, "the driver no longer shows it")
    version = _version(look.driver_version)
    if version is not None and version < DRIVER_MIN:
        for uuid in look.by_uuid:
            yield Symptom(HealthCode.DRIVER_OLD, uuid, f"driver {look.driver_version}")


def _against(seen: frozenset[str], code: HealthCode, detail: str) -> Iterator[Symptom]:
    if not seen:
        yield Symptom(HealthCode.DRIVER_UNREADY, None, detail)
    for uuid in sorted(seen):
        yield Symptom(code, uuid, detail)


def _of_pulse(device: GpuReading, standing: Collection[Key]) -> Iterator[Symptom]:
    pulse, checkup = device.pulse, device.checkup
    yield from _of_heat(device.uuid, pulse, checkup, standing)
    throttle = pulse.throttle or 0
    if throttle & THROTTLE_POWER_BRAKE:
        yield Symptom(HealthCode.POWER_BRAKE, device.uuid)
    limit, usual = checkup.power_limit_milliwatts, checkup.power_limit_usual_milliwatts
    if limit and pulse.power_milliwatts is not None and pulse.power_milliwatts * 100 > limit * POWER_OVER_PERCENT:
        detail = f"{pulse.power_milliwatts // 1000} W of {limit // 1000} W"
        yield Symptom(HealthCode.POWER_OVER_LIMIT, device.uuid, detail)
    if limit and usual and limit * 100 < usual * POWER_CAP_PERCENT:
        yield Symptom(HealthCode.POWER_CAPPED, device.uuid, f"{limit // 1000} W instead of {usual // 1000} W")


def _of_heat(uuid: str, pulse: Pulse, checkup: Checkup, standing: Collection[Key]) -> Iterator[Symptom]:
    throttle = pulse.throttle or 0
    slack = COOLER_BY_C if (HealthCode.TOO_HOT, uuid) in standing else 0
    hot_at = (checkup.slowdown_at_c or HOT_C) - slack
    if pulse.temperature_c is not None and pulse.temperature_c >= hot_at:
        yield Symptom(HealthCode.TOO_HOT, uuid, f"{pulse.temperature_c} °C")
    elif checkup.memory_temperature_c is not None and checkup.memory_temperature_c >= MEMORY_HOT_C - slack:
        yield Symptom(HealthCode.TOO_HOT, uuid, f"its memory has {checkup.memory_temperature_c} °C")
    elif throttle & (THROTTLE_HW_THERMAL | THROTTLE_HW_SLOWDOWN) and not throttle & THROTTLE_POWER_BRAKE:
        yield Symptom(HealthCode.TOO_HOT, uuid, "the hardware slows it down")
    elif throttle & THROTTLE_SW_THERMAL:
        yield Symptom(HealthCode.SLOWED_BY_HEAT, uuid)


def _of_memory(device: GpuReading, before: GpuReading | None) -> Iterator[Symptom]:
    checkup, uuid = device.checkup, device.uuid
    if checkup.rows_failed:
        yield Symptom(HealthCode.MEMORY_WORN_OUT, uuid)
    if checkup.rows_pending or checkup.retirement_pending:
        yield Symptom(HealthCode.MEMORY_REPAIR_PENDING, uuid)
    if checkup.ecc_uncorrected:
        yield Symptom(HealthCode.ECC_UNCORRECTED, uuid, f"{checkup.ecc_uncorrected} since the driver was loaded")
    then = before.checkup.ecc_corrected if before is not None else None
    if then is not None and checkup.ecc_corrected is not None and checkup.ecc_corrected - then >= ECC_STORM_ERRORS:
        yield Symptom(HealthCode.ECC_STORM, uuid, f"{checkup.ecc_corrected - then} within seconds")


def _of_links(uuid: str, checkup: Checkup) -> Iterator[Symptom]:
    if checkup.pcie_width and checkup.pcie_width_max and checkup.pcie_width < checkup.pcie_width_max:
        yield Symptom(HealthCode.PCIE_NARROW, uuid, f"{checkup.pcie_width} of {checkup.pcie_width_max} lanes")
    # No link at all is a card without a bridge.
    if checkup.nvlinks and checkup.nvlinks_active and checkup.nvlinks_active < checkup.nvlinks:
        yield Symptom(HealthCode.NVLINK_DOWN, uuid, f"{checkup.nvlinks_active} of {checkup.nvlinks} are up")


def _of_use(device: GpuReading, around: Surroundings) -> Iterator[Symptom]:
    checkup, uuid = device.checkup, device.uuid
    strangers = [pid for pid in checkup.processes or () if pid not in around.own]
    if strangers and uuid not in around.leased:
        yield Symptom(HealthCode.USED_BY_OTHERS, uuid, f"PID {', '.join(map(str, strangers[:5]))}")
    if uuid not in around.pool:
        yield Symptom(HealthCode.NOT_IN_POOL, uuid)
    if uuid in around.contradictions:
        yield Symptom(HealthCode.NOT_ITS_NAME, uuid, around.contradictions[uuid])


def _of_node(around: Surroundings, standing: Collection[Key]) -> Iterator[Symptom]:
    if around.disk is not None:
        yield from _of_disk(around.disk, full=(HealthCode.DISK_FULL, None) in standing)
    off = around.clock_off_seconds
    if off is not None and off > CLOCK_OFF_SECONDS:
        yield Symptom(HealthCode.CLOCK_OFF, None, f"{off:.0f} s")


def _of_disk(disk: DiskReading, *, full: bool) -> Iterator[Symptom]:
    if disk.read_only:
        yield Symptom(HealthCode.DISK_READ_ONLY)
    elif disk.free_bytes < (DISK_WELL_BYTES if full else DISK_FULL_BYTES):
        yield Symptom(HealthCode.DISK_FULL, None, f"{disk.free_bytes / 10**9:.1f} GB left")
    elif disk.files_free is not None and disk.files_free < FILES_FREE_MIN:
        yield Symptom(HealthCode.DISK_FULL, None, f"it takes {disk.files_free} more files")


def _version(text: str | None) -> tuple[int, int] | None:
    match = re.match(r"(\d{1,5})\.(\d{1,5})", text or "")
    return (int(match[1]), int(match[2])) if match else None
