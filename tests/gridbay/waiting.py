"""Waiting for a condition, with a bound."""

import time
from collections.abc import Callable
from typing import Any

SECONDS_MAX = 20.0
LOOK_SECONDS = 0.01


def wait_for(look: Callable[[], Any]) -> Any:
    """What `look` finds, once it finds anything."""
    until = time.monotonic() + SECONDS_MAX
    while not (found := look()):
        assert time.monotonic() < until, "waited for too long"
        time.sleep(LOOK_SECONDS)
    return found
