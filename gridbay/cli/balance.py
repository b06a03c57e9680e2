"""`gridbay balance`."""

import typer

from gridbay.cli.console import Output, OutputOption
from gridbay.cli.listing import show_one
from gridbay.cli.session import open_market

app = typer.Typer()


@app.command()
def balance(output: OutputOption = Output.TABLE) -> None:
    """Show what can be spent now and what is pending."""
    with open_market() as market:
        found = market.balance()
    rows = [
        ("available", f"{found.available.usdc} USDC"),
        ("pending", f"{found.pending.usdc} USDC"),
        ("  held for jobs", f"{found.held.usdc} USDC"),
        ("  on its way out", f"{found.withdrawing.usdc} USDC"),
        ("  arriving", f"{found.arriving.usdc} USDC, seen on the chain and not final"),
    ]
    show_one(found, rows, output, name=found.available.usdc)
