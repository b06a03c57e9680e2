"""Reservations that nobody needs any more, kept for a moment: the next attempt of equal needs takes one over.

Making and removing one costs Ray more than all else that an attempt asks of it. A spare holds what it held, so Ray's
books stay true; it goes at once when its room is wanted for something else.
"""

import time
from collections.abc import Callable, Iterable, Mapping

from provider_agent.pool.wire import Reservation

KEPT_SECONDS = 1.0
_ROUNDING = 1e-6


class Spares:
    """In the order in which they were given back. kept_seconds: for how long, 0 for not at all."""

    def __init__(
        self,
        total: Mapping[str, float],
        kept_seconds: float = KEPT_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total = total
        self._kept_seconds = kept_seconds
        self._monotonic = monotonic
        self._spares: list[tuple[float, Reservation]] = []

    def keep(self, reservation: Reservation) -> bool:
        """Whether it is kept."""
        if not self._kept_seconds:
            return False
        self._spares.append((self._monotonic() + self._kept_seconds, reservation))
        return True

    def take(self, wanted: Reservation) -> Reservation | None:
        """One that holds exactly what is wanted, the newest: so that the others may go."""
        for at in reversed(range(len(self._spares))):
            spare = self._spares[at][1]
            if spare.resources() == wanted.resources():
                del self._spares[at]
                return spare
        return None

    def make_room(self, wanted: Reservation, held: Iterable[Reservation]) -> list[Reservation]:
        """Those that must go for what is wanted to fit beside what is held, the oldest first; and spares no more."""
        taken = [reservation.resources() for reservation in held]
        going: list[Reservation] = []
        while self._spares and not self._fits(wanted, [*taken, *(spare.resources() for _, spare in self._spares)]):
            going.append(self._spares.pop(0)[1])
        return going

    def take_expired(self) -> list[Reservation]:
        now = self._monotonic()
        expired = [spare for until, spare in self._spares if until <= now]
        self._spares = [(until, spare) for until, spare in self._spares if until > now]
        return expired

    @property
    def next_seconds(self) -> float | None:
        """Until the next one expires; None when there is none."""
        return max(0.0, self._spares[0][0] - self._monotonic()) if self._spares else None

    def clear(self) -> None:
        """Ray's books are empty."""
        self._spares.clear()

    def _fits(self, wanted: Reservation, taken: list[dict[str, float]]) -> bool:
        return all(
            sum(amounts.get(resource, 0.0) for amounts in taken) + amount <= self._total.get(resource, 0.0) + _ROUNDING
            for resource, amount in wanted.resources().items()
        )
