"""`gridbay logs`: a job's log, whole and once, followed if wanted."""

import sys
from collections.abc import Iterable
from typing import Annotated, TextIO

import typer

from gridbay.cli.console import harmless, remarks
from gridbay.cli.jobs import JobId
from gridbay.cli.session import WATCHING_PATIENCE_SECONDS, open_market
from market.customer_api import LogLine

app = typer.Typer()


@app.command()
def logs(
    job_id: JobId,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job is over.")] = False,
) -> None:
    """Print a job's log; -f follows it."""
    with open_market(WATCHING_PATIENCE_SECONDS) as market:
        print_log(market.logs(job_id, follow=follow))


def print_log(pieces: Iterable[LogLine]) -> None:
    """Write pieces to stdout as they come; between attempts, a line on stderr."""
    writer = LogWriter()
    for piece in pieces:
        writer.write(piece)


class LogWriter:
    """Writes a log to stdout or another stream, and remembers which attempt it is in."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._attempt = 1
        self._stream = stream or sys.stdout
        # What a node sends must not steer the terminal; a file gets every byte.
        self._terminal = self._stream.isatty()
        self.at_line_start = True

    def write(self, piece: LogLine) -> None:
        if piece.attempt_number != self._attempt:
            self._attempt = piece.attempt_number
            remarks().print(f"── attempt {piece.attempt_number} ──", style="dim")
        self._stream.write(harmless(piece.text) if self._terminal else piece.text)
        self._stream.flush()
        self.at_line_start = piece.text.endswith("\n")
