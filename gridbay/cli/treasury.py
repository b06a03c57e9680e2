"""`gridbay admin reconcile` and `gridbay admin deposits`: custody against the chain, and money without a name."""

from collections.abc import Callable
from typing import Annotated

import typer

from gridbay.cli.console import Output, OutputOption, results
from gridbay.cli.listing import Column, facts, print_json, table_of
from gridbay.client.operator import Operator
from market.money import format_usdc

deposits_app = typer.Typer(no_args_is_help=True)
FLIGHT_COLUMNS = (
    Column("SIGNATURE", lambda flight: flight.signature, rank=0),
    Column("AMOUNT", lambda flight: flight.amount.usdc, right=True, rank=0),
    Column("STATE", lambda flight: flight.state, rank=0),
)
MOVEMENT_COLUMNS = (
    Column("SIGNATURE", lambda movement: movement.signature, rank=0),
    Column("AMOUNT", lambda movement: _signed(movement.amount_microusd), right=True, rank=0),
    Column("FROM", lambda movement: movement.sender or "", rank=2),
    Column("MEMO", lambda movement: movement.memo or "", wraps=True, rank=1),
)


def add_to(app: typer.Typer, open_operator: Callable[[], Operator]) -> None:
    """Add the commands that need an operator's market."""

    @app.command("reconcile")
    def reconcile(output: OutputOption = Output.TABLE) -> None:
        """Compare what the market owes with what its treasury holds on the chain; ends with 1 on any mismatch."""
        with open_operator() as operator:
            found = operator.reconciliation()
        if output is Output.JSON:
            print_json(found.model_dump(mode="json"))
        else:
            rows = [
                ("custody", f"{found.custody.usdc} USDC on the chain"),
                ("liabilities", f"{found.liabilities.usdc} USDC by the ledger"),
                *((f"  {kind}", f"{amount.usdc} USDC") for kind, amount in found.by_kind.items() if amount.microusd),
                ("unmatched", f"{found.unmatched.usdc} USDC: gridbay admin deposits list"),
                ("for fees", f"{found.lamports} lamports"),
            ]
            results().print(facts(rows))
            if found.in_flight:
                results().print(table_of(found.in_flight, FLIGHT_COLUMNS))
            for mismatch in found.mismatches:
                results().print(f"does not hold: {mismatch}", style="red", markup=False, soft_wrap=True)
            well = not found.mismatches
            said = "custody is what the ledger says" if well else "custody does NOT reconcile"
            results().print(said, style="green" if well else "red")
        if found.mismatches:
            raise typer.Exit(1)

    @deposits_app.callback()
    def deposits() -> None:
        """Look after money that came in without saying whose it is."""

    @deposits_app.command("list")
    def list_unmatched(output: OutputOption = Output.TABLE) -> None:
        """List what moved in or out of the treasury and no deposit or payout explains."""
        with open_operator() as operator:
            found = operator.unmatched_deposits()
        if output is Output.JSON:
            print_json([each.model_dump(mode="json") for each in found])
        elif found:
            results().print(table_of(found, MOVEMENT_COLUMNS))
        else:
            print("everything is explained")

    @deposits_app.command("assign")
    def assign(
        signature: Annotated[str, typer.Argument(show_default=False)],
        organization: Annotated[str, typer.Option("--to", help="The organization's id.", show_default=False)],
    ) -> None:
        """Credit such a deposit to an organization, once."""
        with open_operator() as operator:
            made = operator.assign_deposit(signature, organization)
        print(f"{made.credited.usdc} USDC are credited to {made.organization_id} as {made.deposit_id}")

    app.add_typer(deposits_app, name="deposits")


def _signed(microusd: int) -> str:
    return format_usdc(microusd) if microusd >= 0 else f"-{format_usdc(-microusd)}"
