"""The local chain's time: block heights counted from a clock, commitments as distances from the newest block.

Nothing ticks: the height is computed when somebody asks, so an idle chain costs nothing. While the chain is down
its time stands still, as a halted cluster's does.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

SKIPPED_SLOTS: Final = 1_000_000
"""Slots without a block before the first one. On a real cluster slots run ahead of block heights; here too, so
that code that compares one with the other is wrong here as well."""


FIRST_HEIGHT: Final = 1_000
"""Where a new chain begins: above every distance that is ever subtracted from a height."""


class Commitment(StrEnum):
    PROCESSED = "processed"
    CONFIRMED = "confirmed"
    FINALIZED = "finalized"


@dataclass(frozen=True)
class Timing:
    """How fast blocks come, and after how many more a block is confirmed and finalized."""

    slot_seconds: float = 0.1
    confirmed_after: int = 1
    finalized_after: int = 3

    def __post_init__(self) -> None:
        if not (self.slot_seconds > 0 and 0 <= self.confirmed_after <= self.finalized_after <= 150):
            raise ValueError(f"{self}: slots take time, and a block is confirmed before it is finalized")

    def depth(self, commitment: Commitment) -> int:
        match commitment:
            case Commitment.PROCESSED:
                return 0
            case Commitment.CONFIRMED:
                return self.confirmed_after
            case Commitment.FINALIZED:
                return self.finalized_after


class Heights:
    """The block height, which starts at `first` and goes back only when blocks are taken back."""

    def __init__(self, first: int, timing: Timing, clock: Callable[[], float] = time.monotonic) -> None:
        self._first = first
        self._timing = timing
        self._clock = clock
        self._started_at = clock()

    def now(self) -> int:
        return self._first + int((self._clock() - self._started_at) / self._timing.slot_seconds)

    def rewind(self, blocks: int) -> None:
        self._first -= blocks


def slot_of(height: int) -> int:
    return height + SKIPPED_SLOTS
