"""How long to wait before asking again: longer each time, never the same for two nodes, never beyond a bound."""

import random

FIRST_SECONDS = 0.25
MOST_SECONDS = 15.0
RETRY_AFTER_MAX_SECONDS = 60.0


class Backoff:
    """Exponential with full jitter; `reset` after a success. A server's own Retry-After is a lower bound."""

    def __init__(self, first_seconds: float = FIRST_SECONDS, most_seconds: float = MOST_SECONDS) -> None:
        self._first = first_seconds
        self._most = most_seconds
        self._failures = 0

    def reset(self) -> None:
        self._failures = 0

    @property
    def failures(self) -> int:
        return self._failures

    def next_seconds(self, retry_after: float = 0) -> float:
        ceiling = min(self._most, self._first * 2.0 ** min(self._failures, 16))
        self._failures += 1
        # Half of it is certain, so that a crowd neither comes back at once nor in step.
        jittered = ceiling * random.uniform(0.5, 1)  # noqa: S311 (spreads load, protects nothing)
        return max(jittered, min(retry_after, RETRY_AFTER_MAX_SECONDS))
