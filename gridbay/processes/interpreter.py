"""Python in a process that serves for long: its collector spares loaded code, its threads take short turns."""

import gc
import sys

ALLOCATIONS, YOUNG_ROUNDS, MIDDLE_ROUNDS = 20_000, 20, 20
"""A request allocates thousands of objects: at the usual 700 the collector would run all the time."""
TURN_SECONDS = 0.0005
"""A thread that has its answer from the database waits so long for one that computes; usually it is 5 ms, each time."""


def settle_interpreter() -> None:
    """Call once everything is loaded: what is there now is taken to stay, and collections become rarer."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(ALLOCATIONS, YOUNG_ROUNDS, MIDDLE_ROUNDS)
    sys.setswitchinterval(TURN_SECONDS)
