"""`gridbay demo`: the main job on the whole market of this machine, told as it happens, to a verified receipt."""

from pathlib import Path
from typing import Annotated

import platformdirs
import typer

import gridbay
from gridbay.cli.engines import require_engines
from gridbay.cli.extras import need_embedded
from market.errors import MarketError, NotFound

with need_embedded():
    from gridbay.cli.demo_market import DemoMarket
    from gridbay.cli.demo_table import show_outcome
    from gridbay.standalone.background import RunningMarket, start_in_background

app = typer.Typer()


@app.command()
def demo(
    *,
    state: Annotated[
        Path | None, typer.Option("--state", help="The folder that keeps the demo's market.", show_default=False)
    ] = None,
) -> None:
    """Show the main job on the whole market, with its verified receipt.

    Starts a market in the background, deposits test USDC, runs examples/digits (and examples/fails, which fails on
    purpose), settles on the local chain, verifies the receipts, and stops the market again.
    """
    require_engines()
    examples = _examples()
    folder = state or Path(platformdirs.user_data_dir("gridbay")) / "demo"
    typer.echo(f"starting the market in {folder}")
    with start_in_background(folder) as running:
        try:
            _tell(running, examples)
        except MarketError as error:
            error.remedy = _where_to_look(running, error.remedy)
            raise
        typer.echo("stopping the market")
        code = running.stop()
    if code != 0:
        typer.echo(f"the market ended with status {code}: see {running.log_file}", err=True)
        raise typer.Exit(code)
    typer.echo("next: gridbay up (in a checkout: make up) keeps a market running; gridbay run JOB.YAML uses it")


def _tell(running: RunningMarket, examples: Path) -> None:
    """The story; everything over HTTP, as any user would."""
    with DemoMarket.ready(running) as market:
        market.wait_listed()
        market.give_provider_a_wallet()
        market.deposit()
        digits = market.run(examples / "digits")
        market.fetch_outputs(digits)
        fails = market.run(examples / "fails")
        market.explain_failure(fails)
        epoch = market.settle()
        proofs = [market.verify(job) for job in (digits, fails)]
        show_outcome(proofs, epoch)


def _examples() -> Path:
    """They belong to the sources, not to an installation."""
    folder = Path(gridbay.__file__).resolve().parents[1] / "examples"
    if not (folder / "digits" / "job.yaml").is_file():
        raise NotFound(f"the examples are not in {folder}", remedy="run the demo in a checkout of Gridbay: make demo")
    return folder


def _where_to_look(running: RunningMarket, remedy: str) -> str:
    ended = "" if running.alive() else "the market itself has ended; "
    return "; ".join(part for part in (remedy, f"{ended}see the logs in {running.state_dir / 'logs'}") if part)
