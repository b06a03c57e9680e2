"""Asking again: with growing pauses, as the market wishes, and no longer than one is patient."""

import random
import time
from collections.abc import Callable

PAUSE_SECONDS, PAUSE_MAX_SECONDS = 0.1, 3.0

OnRetry = Callable[[str], None]
"""Hears why something is asked again."""


class Patience:
    """A bound on failures in a row; `restored` by every success."""

    def __init__(self, seconds: float, on_retry: OnRetry | None = None) -> None:
        self._seconds, self._on_retry = seconds, on_retry
        self._pause = PAUSE_SECONDS
        self._until: float | None = None

    def wait(self, why: str, after_seconds: float | None = None) -> bool:
        """Rest before the next try, as long as the market asked for if it did; False, at once, when it is too late."""
        now = time.monotonic()
        if self._until is None:
            self._until = now + self._seconds
        pause = self._pause * random.uniform(0.7, 1.3) if after_seconds is None else after_seconds  # noqa: S311
        if now + pause > self._until:
            return False
        if self._on_retry is not None:
            self._on_retry(why)
        time.sleep(pause)
        self._pause = min(self._pause * 2, PAUSE_MAX_SECONDS)
        return True

    def restored(self) -> None:
        self._until, self._pause = None, PAUSE_SECONDS
