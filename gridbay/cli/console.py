"""Where the command line writes: results to stdout, everything about them to stderr."""

import re
import sys
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console

PIPE_WIDTH = 200
"""Of a table that goes into a pipe: nothing is to be cut there."""

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]")
_ESCAPE_BUT_COLOUR = re.compile(r"\x1b(?!\[[0-9;]{0,30}m)")


class Output(StrEnum):
    TABLE = "table"
    JSON = "json"
    QUIET = "quiet"


OutputOption = Annotated[
    Output, typer.Option("--output", "-o", help="A table, JSON for programs, or ids alone.", show_default=True)
]


def results() -> Console:
    """For what was asked for. NO_COLOR and pipes are heard."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def remarks() -> Console:
    """For progress, questions and refusals."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def harmless(text: str) -> str:
    """Text from elsewhere for a terminal: colours stay, what would move the cursor or rename the window goes."""
    return _ESCAPE_BUT_COLOUR.sub("␛", _CONTROL.sub("", text))


def confirmed(question: str, *, yes: bool) -> bool:
    """Whether the person says yes; without a terminal only -y does."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise typer.BadParameter("there is no terminal to ask on: say -y to go ahead", param_hint="-y")
    return typer.confirm(question, default=False, err=True)
