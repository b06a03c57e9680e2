"""How often a fault is done: a few times in CI, the full number in `make soak`; and where its figures are written."""

import json
import os
from pathlib import Path

SOAK = bool(os.environ.get("GRIDBAY_SOAK"))
KILLS_A_POINT = int(os.environ.get("GRIDBAY_SOAK_KILLS", "200"))
"""Of each failpoint in a soak; fewer, for a soak in pieces whose figures add up."""
FIGURES = os.environ.get("GRIDBAY_FIGURES")
"""A file to which every check appends a line of JSON."""


def size(ci: int, soak: int) -> int:
    return soak if SOAK else ci


def write_figures(test: str, figures: dict[str, object]) -> None:
    if FIGURES:
        with Path(FIGURES).open("a") as file:
            file.write(json.dumps({"test": test, **figures}) + "\n")
