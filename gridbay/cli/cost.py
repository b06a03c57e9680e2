"""`gridbay cost`: a job's bill, line by line."""

import typer

from gridbay.cli import wording
from gridbay.cli.console import Output, OutputOption, results
from gridbay.cli.jobs import JobId
from gridbay.cli.listing import Column, facts, print_json, table_of
from gridbay.cli.session import open_market
from market.customer_api import CostLine

app = typer.Typer()


def _less(line: CostLine) -> str:
    return f"{line.discount_basis_points / 100:g}%" if line.discount_basis_points else ""


COLUMNS = (
    Column("ATTEMPT", lambda line: str(line.attempt_number), right=True, rank=2),
    Column("WINDOW", lambda line: str(line.window_number), right=True, rank=2),
    Column("UNITS", lambda line: f"{line.quantity_milli / 1000:g}", right=True),
    Column("SECONDS", lambda line: f"{line.run_ms / 1000:.3f}", right=True, rank=0),
    Column("AT LEAST", lambda line: f"{line.minimum_ms / 1000:g}" if line.minimum_ms else "", right=True, rank=1),
    Column("USDC/h", lambda line: line.price_per_unit_hour.usdc, right=True),
    Column("LESS", _less, right=True, rank=2),
    Column("AMOUNT", lambda line: line.amount.usdc, right=True, rank=0),
    Column("PROVIDER", lambda line: line.provider_share.usdc, right=True),
    Column("FEE", lambda line: line.fee.usdc, right=True),
    Column("ROUNDING", lambda line: line.rounding.usdc, right=True),
    Column("EPOCH", lambda line: "open" if line.epoch is None else str(line.epoch), right=True),
    Column("CAPTURED", lambda line: wording.moment(line.captured_at), rank=3),
)

RARE = frozenset({"AT LEAST", "LESS"})
"""Columns that are there where a line has something to say in them."""

ADJUSTMENT_COLUMNS = (
    Column("GIVEN BACK", lambda one: one.amount.usdc, right=True, rank=0),
    Column("OF LINE", lambda one: one.line_id, rank=1),
    Column("CAUSE", lambda one: one.cause, rank=1),
    Column("REASON", lambda one: one.reason, wraps=True, rank=0),
    Column("AT", lambda one: wording.moment(one.adjusted_at), rank=3),
)


@app.command()
def cost(job_id: JobId, output: OutputOption = Output.TABLE) -> None:
    """Show what a job has cost, line by line."""
    with open_market() as market:
        bill = market.cost(job_id)
    if output is Output.JSON:
        print_json(bill.model_dump(mode="json"))
    elif output is Output.QUIET:
        print(bill.total.usdc)
    else:
        if bill.lines:
            shown = [one for one in COLUMNS if one.title not in RARE or any(map(one.cell, bill.lines))]
            results().print(table_of(bill.lines, shown))
            results().print()
        if bill.adjustments:
            results().print(table_of(bill.adjustments, ADJUSTMENT_COLUMNS))
            results().print()
        made = {line.attempt_number: line.components for line in bill.lines if line.components}
        for number, components in made.items():
            results().print(f"attempt {number}: {wording.made_of(components)}", markup=False, soft_wrap=True)
        held = f"{bill.held.usdc} USDC" if bill.held.microusd else ""
        back = f"{bill.credited.usdc} USDC" if bill.credited.microusd else ""
        most = f"{bill.highest_cost.usdc} USDC"
        results().print(
            facts([("total", f"{bill.total.usdc} USDC"), ("given back", back), ("held", held), ("at most", most)])
        )
