"""`gridbay balance`."""

import typer

from gridbay.cli.console import Output, OutputOption
from gridbay.cli.listing import show_one
from gridbay.cli.session import open_market

app = typer.Typer()


@app.command()
def balance(output: OutputOption = Output.TABLE) -> None:
    """Show what can be spent and what is held for jobs."""
    with open_market() as market:
        found = market.balance()
    rows = [("available", f"{found.available.usdc} USDC"), ("held for jobs", f"{found.held.usdc} USDC")]
    show_one(found, rows, output, name=found.available.usdc)
