"""The contiguous, hash-chained prefix of a stream of readings: how far it can be billed. Pure.

Readings arrive in any order, some twice, some never; only what follows from the first one without a gap counts.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from market.readings import GENESIS


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored reading, as far as the chain needs it."""

    sequence: int
    run_ms: int
    final: bool
    previous_hash: str
    hash: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a prefix. received_at: when the latest of its readings arrived; final: nothing may follow."""

    sequence: int = 0
    run_ms: int = 0
    hash: str = GENESIS
    received_at: datetime | None = None
    final: bool = False


@dataclass(frozen=True, slots=True)
class Advanced:
    """broken: the sequence of a reading that does not continue the chain and must make room for the one that does."""

    head: Head
    broken: int | None = None


def advance(head: Head, later: Iterable[Stored]) -> Advanced:
    """Extend the prefix by stored readings with higher sequences, in ascending order, up to the first gap or break.

    Counters never run backwards: a lower one leaves the head's as it is.
    """
    for reading in later:
        if reading.sequence != head.sequence + 1:
            break
        if reading.previous_hash != head.hash or head.final:
            return Advanced(head, broken=reading.sequence)
        head = replace(
            head,
            sequence=reading.sequence,
            run_ms=max(head.run_ms, reading.run_ms),
            hash=reading.hash,
            received_at=max(head.received_at or reading.received_at, reading.received_at),
            final=reading.final,
        )
    return Advanced(head)
