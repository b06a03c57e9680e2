"""What NVIDIA's fault numbers (Xid) mean for whoever rents the GPU next.

Source: NVIDIA's "Xid Errors" (GPU deployment documentation), its catalogue of numbers and recommended actions.
"""

from dataclasses import dataclass

from market.health import HealthCode

QUIET_SECONDS = 600.0
"""After that much quiet a fault from which the driver recovered no longer counts."""

HARDWARE = {
    48: "double-bit ECC error",
    62: "internal micro-controller halt",
    64: "row remapping or page retirement failed",
    69: "graphics engine class error",
    74: "NVLink error",
    79: "fallen off the bus",
    92: "high rate of corrected ECC errors",
    95: "uncontained memory error",
    109: "context switch timeout",
    119: "GSP does not answer",
    120: "GSP error",
    136: "link training failed",
    140: "unrecovered ECC error",
    143: "initialization failed",
    145: "NVLink RLW error",
    149: "NVLink NETIR error",
    154: "recovery action changed",
}
RECOVERED = {
    38: "driver firmware error",
    61: "internal micro-controller breakpoint",
    63: "row remapped or page retired",
    94: "contained memory error",
    121: "corrected C2C error",
}
"""What is in neither is an application's own fault (13, 31, 43, 45, 68 and their like) and says nothing of the card."""


@dataclass(frozen=True, slots=True)
class XidSeen:
    """at_s: CLOCK_BOOTTIME of that boot; energy_millijoules: the counter then, which a reset sets to zero."""

    uuid: str
    xid: int
    at_s: float
    boot_id: str
    energy_millijoules: int | None


def code_of(xid: int) -> HealthCode | None:
    """None for a number that is no fault of the device."""
    if xid in HARDWARE:
        return HealthCode.XID_HARDWARE
    return HealthCode.XID_RECENT if xid in RECOVERED else None


def words(xid: int) -> str:
    return f"Xid {xid}: {HARDWARE.get(xid) or RECOVERED.get(xid) or 'a fault of an application'}"


def still_holds(seen: XidSeen, now_s: float, boot_id: str, energy_millijoules: int | None) -> bool:
    """A reboot ends it, and so does a reset of the device; what the driver recovered from ends after some quiet."""
    if seen.boot_id != boot_id:
        return False
    if code_of(seen.xid) is HealthCode.XID_RECENT:
        return now_s - seen.at_s < QUIET_SECONDS
    reset = seen.energy_millijoules is not None and energy_millijoules is not None
    return not (reset and (energy_millijoules or 0) < (seen.energy_millijoules or 0))
