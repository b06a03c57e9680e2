"""What cards of each model can do at most, by their data sheets: the upper end of every band.

Sources: NVIDIA's data sheets and architecture white papers of each card (dense INT8 of the tensor cores; for V100,
which has none for INT8, its dense FP16), memory bandwidth likewise, the SXM form where there are two. Chips are those
of the PCI ID database.
"""

from dataclasses import dataclass

from market.resources import GpuRequest, gpu_matches

GIB = 2**30
MEMORY_SLACK_PERCENT = 6
CLOCK_SLACK_PERCENT = 15
"""Owners overclock."""
NVIDIA = 0x10DE


@dataclass(frozen=True, slots=True)
class Card:
    """model: the words that its name has. operations_per_second: the peak of the fastest exact arithmetic.

    chip: the upper half of its PCI device ids, which NVIDIA numbers by chip. multiprocessors: of each of its forms.
    clock_max_mhz: of the SMs, as the driver tells it.
    """

    model: str
    operations_per_second: float
    memory_bytes_per_second: float
    memory_bytes: tuple[int, ...]
    compute_capability: str
    power_watts: int
    chip: int
    multiprocessors: tuple[int, ...]
    clock_max_mhz: int


CARDS = (
    Card("T4", 130e12, 320e9, (16 * GIB,), "7.5", 70, 0x1E, (40,), 1590),
    Card("V100", 125e12, 900e9, (16 * GIB, 32 * GIB), "7.0", 300, 0x1D, (80,), 1597),
    Card("A100", 624e12, 2039e9, (40 * GIB, 80 * GIB), "8.0", 400, 0x20, (108,), 1410),
    Card("A10", 250e12, 600e9, (24 * GIB,), "8.6", 150, 0x22, (72,), 1695),
    Card("L4", 242e12, 300e9, (24 * GIB,), "8.9", 72, 0x27, (58,), 2040),
    Card("L40S", 733e12, 864e9, (48 * GIB,), "8.9", 350, 0x26, (142,), 2520),
    Card("RTX 3090", 284e12, 936e9, (24 * GIB,), "8.6", 350, 0x22, (82,), 2115),
    Card("RTX 4090", 661e12, 1008e9, (24 * GIB,), "8.9", 450, 0x26, (128,), 3135),
    Card("H100", 1979e12, 3350e9, (80 * GIB, 94 * GIB), "9.0", 700, 0x23, (114, 132), 1980),
    Card("H200", 1979e12, 4800e9, (141 * GIB,), "9.0", 700, 0x23, (132,), 1980),
    Card("B200", 4500e12, 8000e9, (180 * GIB, 192 * GIB), "10.0", 1000, 0x29, (148,), 1965),
)


def card_of(model: str) -> Card | None:
    """The card that a name, as NVML writes it, claims to be; None for one that is not in the table, as no slice is."""
    if " MIG " in model:
        return None
    return next((card for card in CARDS if gpu_matches(GpuRequest(count=1, model=card.model), model, 0)), None)


def contradictions(
    model: str,
    memory_bytes: int,
    compute_capability: str | None,
    power_limit_milliwatts: int | None,
    pci_device_id: int | None = None,
) -> list[str]:
    """What a device says of itself that does not fit its name. This raises suspicion; it proves nothing."""
    card = card_of(model)
    if card is None:
        return []
    found = []
    slack = 100 - MEMORY_SLACK_PERCENT
    if not any(total * slack // 100 <= memory_bytes <= total * 103 // 100 for total in card.memory_bytes):
        found.append(f"{model} does not come with {memory_bytes} bytes of memory")
    if compute_capability is not None and compute_capability != card.compute_capability:
        found.append(f"{model} has compute capability {card.compute_capability}, not {compute_capability}")
    if power_limit_milliwatts is not None and power_limit_milliwatts > 1300 * card.power_watts:
        found.append(f"{model} does not draw {power_limit_milliwatts // 1000} W")
    if pci_device_id is not None and (pci_device_id >> 24, pci_device_id & 0xFFFF) != (card.chip, NVIDIA):
        found.append(f"{model} is no PCI device {pci_device_id >> 16:04x} of {pci_device_id & 0xFFFF:04x}")
    return found


def busy_contradictions(model: str, multiprocessors: int | None, clock_mhz: int | None) -> list[str]:
    """The same of what only shows when it computes: how many SMs its runtime counts, how fast they were seen to run."""
    card = card_of(model)
    if card is None:
        return []
    found = []
    if multiprocessors is not None and multiprocessors not in card.multiprocessors:
        found.append(f"{model} does not have {multiprocessors} multiprocessors")
    if clock_mhz is not None and clock_mhz * 100 > card.clock_max_mhz * (100 + CLOCK_SLACK_PERCENT):
        found.append(f"{model} does not run at {clock_mhz} MHz")
    return found
