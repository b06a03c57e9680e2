"""Timing: how fast a device may be that claims to be a model, and how long it may take to read its memory.

Too slow is another card, or a shared one; faster than the model's peak is a lie too. Cards within 15 % of each other
cannot be told apart by this.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from market.proof.challenge import Challenge
from scheduler.proofs.cards import Card

SLOWEST_SHARE = 0.75
PEAK_SLACK = 1.02
PCIE_BYTES_PER_SECOND = 64e9
"""PCIe 5.0 with 16 lanes, the fastest way to a copy in the host's memory."""
MEMORY_SHARE = 0.75
MEMORY_SECONDS_MIN = 0.15
"""A shorter limit would measure the way to the portal and not the memory."""
POWER_FLOOR = 0.3
UNMEASURED_SHARE = 0.05
"""Of the data sheet's peak: what a card must reach as long as nobody has measured its model. No CPU does."""
UNKNOWN_SLOWEST = 2e12
"""What a GPU must reach whose model is in no table."""


@dataclass(frozen=True, slots=True)
class Rate:
    """What cards of a model were measured at under a power limit. samples: of how many providers it is the median."""

    power_limit_watts: int
    operations_per_second: float
    samples: int = 1


@dataclass(frozen=True, slots=True)
class Band:
    """Operations a second; None: that end is not judged."""

    slowest: float | None
    fastest: float | None


UNTIMED = Band(None, None)
"""Of a CPU, and of a simulated device: there is nothing it claims to be."""


def band_of(card: Card | None, rates: Sequence[Rate], power_limit_watts: int | None) -> Band:
    """The band of a card under its enforced power limit, by the rate that was measured nearest to that limit.

    Below the limit of the measurement the rate falls no faster than the power does, so the lower end follows it down.
    """
    fastest = card.operations_per_second * PEAK_SLACK if card is not None else None
    if not rates:
        return Band(card.operations_per_second * UNMEASURED_SHARE if card else UNKNOWN_SLOWEST, fastest)
    if power_limit_watts is None:
        nearest = max(rates, key=lambda rate: rate.power_limit_watts)
        return Band(SLOWEST_SHARE * nearest.operations_per_second, fastest)
    nearest = min(rates, key=lambda rate: abs(rate.power_limit_watts - power_limit_watts))
    power = min(1.0, max(POWER_FLOOR, power_limit_watts / nearest.power_limit_watts))
    return Band(SLOWEST_SHARE * nearest.operations_per_second * power, fastest)


def memory_seconds_max(challenge: Challenge, card: Card | None) -> float | None:
    """How long reading all that was kept may take: less than a host's copy over PCIe takes, or computing it again.

    None where so little was kept that the answer would show nothing.
    """
    if card is None or not challenge.kept:
        return None
    over_pcie = challenge.kept_bytes / PCIE_BYTES_PER_SECOND
    again = challenge.operations / challenge.rounds * challenge.kept / card.operations_per_second
    limit = MEMORY_SHARE * min(over_pcie, again)
    return limit if limit >= MEMORY_SECONDS_MIN else None
