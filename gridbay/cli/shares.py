"""`gridbay admin share`: what organizations are entitled to beside others."""

from collections.abc import Callable
from typing import Annotated

import typer

from gridbay.cli.console import Output, OutputOption
from gridbay.cli.listing import Column, show
from gridbay.client.operator import Operator
from market.shares_api import GPUS_MAX, WEIGHT_MAX_MILLI, ShareRequest, ShareView


def _ceiling(share: ShareView) -> str:
    return "none" if share.ceiling_gpus is None else f"{share.ceiling_gpus} GPUs"


share_app = typer.Typer(no_args_is_help=True)
COLUMNS = (
    Column("ORGANIZATION", lambda one: one.organization_id, rank=0),
    Column("WEIGHT", lambda one: f"{one.weight_milli / 1000:g}", right=True, rank=0),
    Column("QUOTA", lambda one: f"{one.quota_gpus} GPUs", right=True, rank=0),
    Column("CEILING", _ceiling, right=True, rank=0),
)


def add_to(app: typer.Typer, open_operator: Callable[[], Operator]) -> None:
    """Add the commands that need an operator's market."""
    app.add_typer(share_app, name="share")

    @share_app.callback()
    def share() -> None:
        """Say which organization is entitled to how much."""

    @share_app.command("list")
    def list_shares(output: OutputOption = Output.TABLE) -> None:
        """List the shares that are not the usual one."""
        with open_operator() as operator:
            found = operator.shares()
        if not found and output is Output.TABLE:
            print("every organization has the usual share: weight 1, no quota, no ceiling")
            return
        show(found, COLUMNS, output, name=lambda one: one.organization_id)

    @share_app.command("set")
    def set_share(
        organization: Annotated[str, typer.Argument(metavar="ORGANIZATION", show_default=False)],
        weight: Annotated[
            float, typer.Option("--weight", min=0.001, max=WEIGHT_MAX_MILLI / 1000, help="Its part beside others.")
        ] = 1.0,
        quota: Annotated[
            int, typer.Option("--quota", min=0, max=GPUS_MAX, help="GPUs within which its turn comes first.")
        ] = 0,
        ceiling: Annotated[
            int | None, typer.Option("--ceiling", min=0, max=GPUS_MAX, help="GPUs that it never holds more of.")
        ] = None,
    ) -> None:
        """Set a share, whole: what is left out is as usual. What runs goes on."""
        wanted = ShareRequest(weight_milli=round(weight * 1000), quota_gpus=quota, ceiling_gpus=ceiling)
        with open_operator() as operator:
            kept = operator.set_share(organization, wanted)
        print(f"{kept.organization_id}: weight {kept.weight_milli / 1000:g}, quota {kept.quota_gpus} GPUs, ", end="")
        print(f"ceiling {_ceiling(kept)}")
