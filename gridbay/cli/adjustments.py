"""`gridbay admin adjust` and `adjustments`: corrections of posted charges."""

from collections.abc import Callable
from typing import Annotated

import typer

from gridbay.cli import wording
from gridbay.cli.console import Output, OutputOption
from gridbay.cli.listing import Column, show, show_one
from gridbay.client.operator import Operator
from market.errors import InvalidInput
from market.money import parse_usdc

COLUMNS = (
    Column("ADJUSTMENT", lambda one: one.adjustment_id, rank=2),
    Column("LINE", lambda one: one.line_id, rank=0),
    Column("JOB", lambda one: one.job_id, rank=2),
    Column("AMOUNT", lambda one: one.amount.usdc, right=True, rank=0),
    Column("PROVIDER", lambda one: one.provider_share.usdc, right=True, rank=1),
    Column("OWED", lambda one: one.owed.usdc if one.owed.microusd else "", right=True, rank=1),
    Column("CAUSE", lambda one: one.cause, rank=1),
    Column("REASON", lambda one: one.reason, wraps=True, rank=1),
    Column("AT", lambda one: wording.moment(one.adjusted_at), rank=3),
)


def add_to(app: typer.Typer, open_operator: Callable[[], Operator]) -> None:
    """Add the commands that need an operator's market."""

    @app.command("adjust")
    def adjust(
        line: Annotated[str, typer.Argument(metavar="LINE", help="line_..., as a bill's -o json has it.")],
        reason: Annotated[str, typer.Option("--reason", help="Its customer reads it.", show_default=False)],
        amount: Annotated[
            str | None, typer.Option("--amount", metavar="USDC", help="All that is left of it, unless said.")
        ] = None,
        platform: Annotated[bool, typer.Option("--platform", help="The platform bears the provider's share.")] = False,
        key: Annotated[
            str | None, typer.Option("--key", help="The same text when you try again: it is done once.")
        ] = None,
        output: OutputOption = Output.TABLE,
    ) -> None:
        """Give a part of a posted charge back to its customer."""
        with open_operator() as operator:
            bearer = "platform" if platform else "provider"
            made = operator.adjust(line, _usdc(amount), reason, at_cost_of=bearer, idempotency_key=key)
        parts = f"{made.provider_share.usdc} of the provider's share, {made.fee.usdc} of the fee"
        rows = [
            ("adjustment", made.adjustment_id),
            ("given back", f"{made.amount.usdc} USDC to {made.organization_id}: {parts}"),
            ("owed", f"{made.owed.usdc} USDC by {made.provider_id}" if made.owed.microusd else ""),
            ("job", made.job_id),
        ]
        show_one(made, rows, output, name=made.adjustment_id)

    @app.command("adjustments")
    def adjustments(output: OutputOption = Output.TABLE) -> None:
        """List what was given back of posted charges, newest first."""
        with open_operator() as operator:
            found = operator.adjustments()
        if not found and output is Output.TABLE:
            print("no charge was corrected")
            return
        show(found, COLUMNS, output, name=lambda one: one.adjustment_id)


def _usdc(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_usdc(text)
    except ValueError as error:
        raise InvalidInput(
            f"--amount: {error}", remedy='gridbay admin adjust LINE --amount 0.05 --reason "..."'
        ) from None
