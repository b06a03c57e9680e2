"""What the pool's reservations hold, and what was given back so lately that Ray still counts it as taken.

A group that asks for what was released a moment ago finds it taken, and Ray looks again only after half a second. So
whoever wants it waits here for the moment; whoever finds room besides it does not.
"""

import time
from collections.abc import Callable, Mapping
from threading import Condition

SETTLE_SECONDS = 0.05
_ROUNDING = 1e-6


class Holdings:
    """Amounts by resource. Threads share it. A count that is wrong costs a wait: Ray's own books decide."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._total: dict[str, float] = {}
        self._held: dict[str, Mapping[str, float]] = {}
        self._settling: list[tuple[float, Mapping[str, float]]] = []
        self._changed = Condition()

    def begin(self, total: Mapping[str, float], held: Mapping[str, Mapping[str, float]]) -> None:
        """What there is, and what an earlier process of ours has reserved, by name."""
        with self._changed:
            self._total, self._held = dict(total), dict(held)

    def take(self, name: str, wanted: Mapping[str, float], seconds_max: float) -> None:
        """Note a reservation that is about to be made, once there is room for it or the time is over."""
        until = self._monotonic() + seconds_max
        with self._changed:
            while self._can_have(wanted) and not self._has_room(wanted) and (left := until - self._monotonic()) > 0:
                self._changed.wait(min(left, self._until_settled()))
            self._held[name] = dict(wanted)

    def holds(self, name: str) -> bool:
        """Whether there is, or was when this process began, a reservation of that name."""
        with self._changed:
            return name in self._held

    def give_back(self, name: str) -> None:
        """A reservation was removed just now."""
        with self._changed:
            amounts = self._held.pop(name, None)
            if amounts is not None:
                self._settling.append((self._monotonic() + SETTLE_SECONDS, amounts))
            self._changed.notify_all()

    def _can_have(self, wanted: Mapping[str, float]) -> bool:
        """What is more than there is at all need not be waited for: Ray refuses it."""
        return all(amount <= self._total.get(resource, 0.0) + _ROUNDING for resource, amount in wanted.items())

    def _has_room(self, wanted: Mapping[str, float]) -> bool:
        now = self._monotonic()
        self._settling = [(until, amounts) for until, amounts in self._settling if until > now]
        taken = [*self._held.values(), *(amounts for _, amounts in self._settling)]
        return all(
            sum(amounts.get(resource, 0.0) for amounts in taken) + amount <= self._total.get(resource, 0.0) + _ROUNDING
            for resource, amount in wanted.items()
        )

    def _until_settled(self) -> float:
        """Seconds until the next amount has settled; without one, a release is waited for."""
        now = self._monotonic()
        return max(0.001, min((until for until, _ in self._settling), default=now + SETTLE_SECONDS) - now)
