"""A pace for work that comes in small pieces: while much of it comes it gathers, alone it waits for nothing."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SHARE = 2


class Pace:
    """A piece of work takes at most one part in SHARE of the time, so that what comes meanwhile shares the next one.

    most_seconds: how long after its beginning a piece keeps the next one waiting at most; one that took as long keeps
    none waiting. It decides nothing: who asks may go on all the same.
    """

    def __init__(self, most_seconds: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._most_seconds, self._monotonic = most_seconds, monotonic
        self._next_at = 0.0

    @property
    def wait_seconds(self) -> float:
        """Until the next piece may begin."""
        return max(0.0, self._next_at - self._monotonic())

    @contextmanager
    def piece(self) -> Iterator[None]:
        """Do one."""
        began = self._monotonic()
        try:
            yield
        finally:
            self._next_at = began + min(SHARE * (self._monotonic() - began), self._most_seconds)
