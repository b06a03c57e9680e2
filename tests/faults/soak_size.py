"""How often a fault is done: a few times in CI, the full number in `make soak`."""

import os

SOAK = bool(os.environ.get("GRIDBAY_SOAK"))


def size(ci: int, soak: int) -> int:
    return soak if SOAK else ci
