"""The contiguous, hash-chained prefix of a stream of readings: how far it can be billed. Pure.

Readings arrive in any order, some twice, some never; only what follows from the first one without a gap counts.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Protocol

from market.readings import GENESIS


class Fit(Enum):
    """What a chain of readings is to a prefix. BROKEN: it must make room for the one that continues."""

    NEXT = auto()
    LATER = auto()
    BROKEN = auto()


class Chain(Protocol):
    """A reading, or several that follow each other unbroken. run_ms: the most of them; hash, final: of the last."""

    @property
    def first(self) -> int: ...
    @property
    def last(self) -> int: ...
    @property
    def previous_hash(self) -> str: ...
    @property
    def hash(self) -> str: ...
    @property
    def run_ms(self) -> int: ...
    @property
    def final(self) -> bool: ...
    @property
    def received_at(self) -> datetime: ...


@dataclass(slots=True)
class Prefix:
    """Where a prefix ends. received_at: when the latest that it was extended by arrived; final: nothing may follow."""

    sequence: int = 0
    run_ms: int = 0
    hash: str = GENESIS
    received_at: datetime | None = None
    final: bool = False

    def take(self, chain: Chain) -> Fit:
        """Extend it by a chain that follows. Counters never run backwards: a lower one takes nothing back."""
        if chain.first != self.sequence + 1:
            return Fit.LATER
        if chain.previous_hash != self.hash or self.final:
            return Fit.BROKEN
        self.sequence = chain.last
        self.hash = chain.hash
        self.final = chain.final
        self.run_ms = max(self.run_ms, chain.run_ms)
        self.received_at = max(self.received_at or chain.received_at, chain.received_at)
        return Fit.NEXT
