"""What cards of each model can do at most, by their data sheets: the upper end of every band.

Sources: NVIDIA's data sheets and architecture white papers of each card (dense INT8 of the tensor cores; for V100,
which has none for INT8, its dense FP16), memory bandwidth likewise, the SXM form where there are two.
"""

from dataclasses import dataclass

from market.resources import GpuRequest, gpu_matches

GIB = 2**30
MEMORY_SLACK_PERCENT = 6


@dataclass(frozen=True, slots=True)
class Card:
    """model: the words that its name has. operations_per_second: the peak of the fastest exact arithmetic."""

    model: str
    operations_per_second: float
    memory_bytes_per_second: float
    memory_bytes: tuple[int, ...]
    compute_capability: str
    power_watts: int


CARDS = (
    Card("T4", 130e12, 320e9, (16 * GIB,), "7.5", 70),
    Card("V100", 125e12, 900e9, (16 * GIB, 32 * GIB), "7.0", 300),
    Card("A100", 624e12, 2039e9, (40 * GIB, 80 * GIB), "8.0", 400),
    Card("A10", 250e12, 600e9, (24 * GIB,), "8.6", 150),
    Card("L4", 242e12, 300e9, (24 * GIB,), "8.9", 72),
    Card("L40S", 733e12, 864e9, (48 * GIB,), "8.9", 350),
    Card("RTX 3090", 284e12, 936e9, (24 * GIB,), "8.6", 350),
    Card("RTX 4090", 661e12, 1008e9, (24 * GIB,), "8.9", 450),
    Card("H100", 1979e12, 3350e9, (80 * GIB, 94 * GIB), "9.0", 700),
    Card("H200", 1979e12, 4800e9, (141 * GIB,), "9.0", 700),
    Card("B200", 4500e12, 8000e9, (180 * GIB, 192 * GIB), "10.0", 1000),
)


def card_of(model: str) -> Card | None:
    """The card that a name, as NVML writes it, claims to be; None for one that is not in the table."""
    return next((card for card in CARDS if gpu_matches(GpuRequest(count=1, model=card.model), model, 0)), None)


def contradictions(
    model: str, memory_bytes: int, compute_capability: str | None, power_limit_milliwatts: int | None
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
    return found
