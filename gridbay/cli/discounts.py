"""`gridbay admin discount`: what organizations pay less than is asked."""

from collections.abc import Callable
from typing import Annotated

import typer

from gridbay.cli.console import Output, OutputOption
from gridbay.cli.listing import Column, show
from gridbay.client.operator import Operator
from market.discounts_api import DISCOUNT_MAX

discount_app = typer.Typer(no_args_is_help=True)
COLUMNS = (
    Column("ORGANIZATION", lambda one: one.organization_id, rank=0),
    Column("DISCOUNT", lambda one: f"{one.discount_basis_points / 100:g}%", right=True, rank=0),
)


def add_to(app: typer.Typer, open_operator: Callable[[], Operator]) -> None:
    """Add the commands that need an operator's market."""
    app.add_typer(discount_app, name="discount")

    @discount_app.callback()
    def discount() -> None:
        """Say which organization pays less, at the cost of the platform's fee."""

    @discount_app.command("list")
    def list_discounts(output: OutputOption = Output.TABLE) -> None:
        """List the organizations that pay less than is asked."""
        with open_operator() as operator:
            found = operator.discounts()
        if not found and output is Output.TABLE:
            print("every organization pays what is asked")
            return
        show(found, COLUMNS, output, name=lambda one: one.organization_id)

    @discount_app.command("set")
    def set_discount(
        organization: Annotated[str, typer.Argument(metavar="ORGANIZATION", show_default=False)],
        percent: Annotated[
            float,
            typer.Argument(
                metavar="PERCENT", min=0, max=DISCOUNT_MAX / 100, help="2.5, or 0 for none.", show_default=False
            ),
        ],
    ) -> None:
        """Set a discount, the platform's fee at most. It holds from the next lease on; what runs keeps its price."""
        with open_operator() as operator:
            kept = operator.set_discount(organization, round(percent * 100))
        print(f"{kept.organization_id} pays {kept.discount_basis_points / 100:g}% less, from its next lease on")
