"""Waiting for a condition of another process, with a bound."""

import time
from collections.abc import Callable

SECONDS_MAX = 60.0
LOOK_SECONDS = 0.02


def until(condition: Callable[[], object], what: str, seconds: float = SECONDS_MAX) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds:g} s still not: {what}"
        time.sleep(LOOK_SECONDS)
