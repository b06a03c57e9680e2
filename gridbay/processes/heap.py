"""The garbage collector of a process that serves for long: it need not look at the code it loaded again and again."""

import gc

ALLOCATIONS, YOUNG_ROUNDS, MIDDLE_ROUNDS = 20_000, 20, 20
"""A request allocates thousands of objects: at the usual 700 the collector would run all the time."""


def settle_heap() -> None:
    """Call once everything is loaded: what is there now is taken to stay, and collections become rarer."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(ALLOCATIONS, YOUNG_ROUNDS, MIDDLE_ROUNDS)
