"""How large a challenge is: seconds on the card it is for, two CPU seconds for whoever verifies it."""

from collections.abc import Sequence
from dataclasses import dataclass

from market.proof.challenge import ROUNDS_MAX
from scheduler.proofs.bands import Rate
from scheduler.proofs.cards import Card

SMALL_SIZE, SMALL_ROUNDS, SMALL_KEPT = 256, 16, 4
"""On a CPU: tens of milliseconds."""
GPU_SIZE, MEMORY_SIZE = 8192, 16_384
GPU_SECONDS = 4.0
ROUNDS_MIN = 16
FILLED_SHARE = 0.9
UNMEASURED_SHARE = 0.35
UNKNOWN_OPERATIONS_PER_SECOND = 20e12


@dataclass(frozen=True, slots=True)
class Extent:
    size: int
    rounds: int
    kept: int


SMALL = Extent(SMALL_SIZE, SMALL_ROUNDS, SMALL_KEPT)


def extent_for(card: Card | None, memory_bytes: int, rates: Sequence[Rate], *, with_memory: bool) -> Extent:
    """The extent of a challenge to a GPU. with_memory: nine tenths of what it says it has are filled and read.

    The larger size is for memory: at it, computing a product again takes as long as reading it from the host.
    """
    size = MEMORY_SIZE if with_memory else GPU_SIZE
    if rates:
        expected = max(rate.operations_per_second for rate in rates)
    else:
        expected = card.operations_per_second * UNMEASURED_SHARE if card else UNKNOWN_OPERATIONS_PER_SECOND
    rounds = max(ROUNDS_MIN, round(GPU_SECONDS * expected / (2 * size**3)))
    kept = 0
    if with_memory:
        # Two matrices of one byte an entry lie beside what is kept.
        kept = max(1, int((FILLED_SHARE * memory_bytes - 2 * size**2) / (4 * size**2)))
        rounds = max(rounds, kept)
    return Extent(size, min(rounds, ROUNDS_MAX), min(kept, ROUNDS_MAX))
