"""`gridbay up`: the whole market on this machine, in front, until Ctrl-C."""

import sys
import threading
import time
from pathlib import Path
from typing import Annotated

import typer

from gridbay.cli.console import remarks, results
from gridbay.cli.engines import require_engines
from gridbay.cli.extras import need_embedded
from gridbay.cli.listing import facts

with need_embedded():
    from gridbay.standalone import market, status
    from gridbay.standalone.facts import MarketFacts
    from gridbay.standalone.state import MarketState

app = typer.Typer()
LOOK_SECONDS = 0.2


@app.command()
def up(
    *,
    state: Annotated[Path | None, typer.Option("--state", help="The folder that keeps it.", show_default=False)] = None,
    no_agent: Annotated[bool, typer.Option("--no-agent", help="Without a provider on this machine.")] = False,
) -> None:
    """Run the whole market on this machine.

    Everything listens on loopback alone: this is for one machine and its owner. Ctrl-C stops it; started again on
    the same folder it goes on where it was.
    """
    require_engines()
    root, ready = MarketState.locate(state).root, threading.Event()
    remarks().print(f"starting the market in {root}", markup=False)

    def tell_progress() -> None:
        started, told = time.monotonic(), set[str]()
        while not ready.wait(LOOK_SECONDS):
            for child in status.status(state).children:
                if child.ready_after_seconds is not None and child.name not in told:
                    told.add(child.name)
                    remarks().print(f"  {time.monotonic() - started:5.1f} s  {child.name}", style="dim")

    def tell_ready(found: MarketFacts) -> None:
        ready.set()
        _say_ready(found.public_url, root, found.elapsed_seconds)

    threading.Thread(target=tell_progress, daemon=True).start()
    try:
        code = market.up(state, out=sys.stderr, ready_callback=tell_ready, with_agent=not no_agent)
    finally:
        ready.set()
    raise typer.Exit(code)


def _say_ready(url: str, root: Path, seconds: float) -> None:
    found_anyway = root == MarketState.locate().root
    login = f"gridbay login --state {root}" + (" (not needed: commands here find this market)" if found_anyway else "")
    first = "" if found_anyway else "the login above · "
    rows = [
        ("market", url),
        ("login", login),
        ("state", str(root)),
        ("logs", str(root / "logs")),
        ("for", "one machine and its owner: it listens on loopback alone, and its USDC is test money"),
        ("next", first + "gridbay deposit 5 · gridbay offers · gridbay run job.yaml"),
        ("stop", "Ctrl-C"),
    ]
    results().print(f"the market is up after {seconds:.1f} s", style="bold green")
    results().print(facts(rows))
    sys.stdout.flush()
