"""DCGM's names for what GPUs tell: read from its exporter's text into our readings, and written from them.

Names and units are those of the exporter's default field list (dcgm-exporter, etc/default-counters.csv).
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from provider_agent.gpus.readings import Checkup, GpuReading, Pulse

MIB = 2**20
PREFIXES = ("DCGM_FI_DEV_", "DCGM_FI_PROF_")
PROFILE_PREFIX = "DCGM_FI_PROF_"
XID = "DCGM_FI_DEV_XID_ERRORS"
DEVICES_MAX = 64

Values = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class DcgmField:
    """counter: it only grows. part, key: where our readings have it; per: what of our unit is one of DCGM's."""

    about: str
    part: type[Pulse] | type[Checkup]
    key: str
    per: float = 1
    counter: bool = False

    def of(self, reading: GpuReading) -> float | None:
        value = getattr(reading.pulse if self.part is Pulse else reading.checkup, self.key)
        return None if value is None else value / self.per


FIELDS: dict[str, DcgmField] = {
    "DCGM_FI_DEV_SM_CLOCK": DcgmField("SM clock frequency (in MHz).", Pulse, "sm_clock_mhz"),
    "DCGM_FI_DEV_MEM_CLOCK": DcgmField("Memory clock frequency (in MHz).", Pulse, "memory_clock_mhz"),
    "DCGM_FI_DEV_MEMORY_TEMP": DcgmField("Memory temperature (in C).", Checkup, "memory_temperature_c"),
    "DCGM_FI_DEV_GPU_TEMP": DcgmField("GPU temperature (in C).", Pulse, "temperature_c"),
    "DCGM_FI_DEV_POWER_USAGE": DcgmField("Power draw (in W).", Pulse, "power_milliwatts", 1000),
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": DcgmField(
        "Energy since the driver was loaded (in mJ).", Pulse, "energy_millijoules", counter=True
    ),
    "DCGM_FI_DEV_PCIE_REPLAY_COUNTER": DcgmField("PCIe retries.", Checkup, "pcie_replays", counter=True),
    "DCGM_FI_DEV_GPU_UTIL": DcgmField("GPU utilization (in %).", Pulse, "busy_percent"),
    "DCGM_FI_DEV_MEM_COPY_UTIL": DcgmField("Memory utilization (in %).", Pulse, "memory_busy_percent"),
    "DCGM_FI_DEV_FB_FREE": DcgmField("Framebuffer memory free (in MiB).", Pulse, "memory_free_bytes", MIB),
    "DCGM_FI_DEV_FB_USED": DcgmField("Framebuffer memory used (in MiB).", Pulse, "memory_used_bytes", MIB),
    "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL": DcgmField(
        "Corrected ECC errors since the driver was loaded.", Checkup, "ecc_corrected", counter=True
    ),
    "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL": DcgmField(
        "Uncorrected ECC errors since the driver was loaded.", Checkup, "ecc_uncorrected", counter=True
    ),
    "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS": DcgmField(
        "Rows replaced after uncorrectable errors.", Checkup, "rows_uncorrected", counter=True
    ),
    "DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS": DcgmField(
        "Rows replaced after correctable errors.", Checkup, "rows_corrected", counter=True
    ),
    "DCGM_FI_DEV_ROW_REMAP_FAILURE": DcgmField("Whether replacing a row has failed.", Checkup, "rows_failed"),
    "DCGM_FI_DEV_RETIRED_PENDING": DcgmField("Whether pages wait to be retired.", Checkup, "retirement_pending"),
    "DCGM_FI_DEV_CLOCKS_EVENT_REASONS": DcgmField("Bits of what holds the clocks down.", Pulse, "throttle"),
}
"""What both NVML and DCGM can tell. The other fields of the default list (encoders, PCIe and NVLink traffic, vGPU
licences) are read, and served again under their names, but nothing is decided by them."""
_FLAGS = ("rows_failed", "rows_pending", "retirement_pending")


def parse(text: str) -> dict[str, Values]:
    """By UUID: every DCGM_FI_* value of a whole device in an exporter's text. Raises ValueError on what is no text.

    Values of MIG instances are left out, and so is what DCGM could not read (NaN, or its blanks).
    """
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            uuid = sample.labels.get("UUID")
            # The parser gives every counter the suffix that DCGM's do not have.
            name = sample.name.removesuffix("_total")
            if not uuid or not name.startswith(PREFIXES) or sample.labels.get("GPU_I_ID"):
                continue
            if len(found) >= DEVICES_MAX and uuid not in found:
                continue
            if not _is_blank(sample.value):
                found.setdefault(uuid, {})[name] = sample.value
    return dict(found)


def filled_in(reading: GpuReading, values: Values) -> GpuReading:
    """A reading with what its own source did not tell taken from DCGM."""
    mine: dict[type, dict[str, Any]] = {Pulse: {}, Checkup: {}}
    for name, dcgm in FIELDS.items():
        if name in values and dcgm.of(reading) is None:
            value = round(values[name] * dcgm.per)
            mine[dcgm.part][dcgm.key] = bool(value) if dcgm.key in _FLAGS else value
    others = {name: value for name, value in values.items() if name not in FIELDS and name != XID}
    return replace(
        reading,
        pulse=replace(reading.pulse, **mine[Pulse]),
        checkup=replace(reading.checkup, **mine[Checkup]),
        profile=others,
    )


def told_by(reading: GpuReading) -> Iterator[tuple[str, float]]:
    """A reading under DCGM's names; what the device does not tell is left out."""
    for name, dcgm in FIELDS.items():
        value = dcgm.of(reading)
        if value is not None:
            yield name, value


def _is_blank(value: float) -> bool:
    return math.isnan(value) or any(first <= value <= first + _BLANKS for first in _BLANK)


_BLANK = (2**31 - 16, 2**47, 2**63 - 16)
_BLANKS = 16
"""DCGM_INT32_BLANK, DCGM_FP64_BLANK and DCGM_INT64_BLANK (dcgm_fields.h), each followed by "not found" and its like."""

assert all(each.key in {known.name for known in fields(each.part)} for each in FIELDS.values())
