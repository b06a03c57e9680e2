"""`gridbay provider proofs`: where the provider's devices stand, and the appeal of a ban."""

from collections.abc import Callable
from typing import Annotated

import typer

from gridbay.cli import wording
from gridbay.cli.console import Output, OutputOption
from gridbay.cli.listing import Column, show
from gridbay.cli.provider_account import open_provider
from gridbay.client.proofs import DeviceProof
from market.errors import NotFound
from market.measured import Measure, rate_in_words

app = typer.Typer(invoke_without_command=True)
circuit_app = typer.Typer(no_args_is_help=True)
NO_LIMIT = "none"


def _of(measure: Measure) -> Callable[[DeviceProof], str]:
    def figure(device: DeviceProof) -> str:
        value = next((each.value for each in device.measured if each.kind == measure.kind), 0)
        return rate_in_words(measure, value) if value else ""

    return figure


COLUMNS = (
    Column("NODE", lambda device: device.node_name, rank=0),
    Column("DEVICE", lambda device: device.device, rank=0),
    Column("MODEL", lambda device: device.model or "", rank=1),
    Column("STATE", lambda device: device.state, rank=0),
    Column("SCORE", lambda device: str(device.score), right=True, rank=2),
    Column("PROVEN", lambda device: wording.moment(device.proven_at) if device.proven_at else "not yet", rank=1),
    Column("MATRIX", _of(Measure.MATRIX), right=True, rank=1),
    Column("MEMORY", _of(Measure.MEMORY), right=True, rank=2),
    Column("PCIE", _of(Measure.PCIE_TO_DEVICE), right=True, rank=3),
    Column("DISK", _of(Measure.DISK_READ), right=True, rank=3),
    Column("NET DOWN", _of(Measure.NETWORK_DOWN), right=True, rank=3),
    Column("NET UP", _of(Measure.NETWORK_UP), right=True, rank=3),
    Column("BY", lambda device: device.engine, rank=3),
    Column("SUSPICION", lambda device: device.suspicion, wraps=True, rank=2),
)


@app.callback()
def proofs(context: typer.Context, output: OutputOption = Output.TABLE) -> None:
    """Show where devices stand, and appeal a ban.

    A device is verified only after a proof.
    """
    if context.invoked_subcommand is not None:
        return
    with open_provider() as provider:
        devices = provider.proofs()
    if not devices and output is Output.TABLE:
        print("nothing was challenged yet: a node is, soon after it has joined")
        return
    show(devices, COLUMNS, output, name=lambda device: f"{device.node_id} {device.device}")


@app.command()
def appeal(
    device: Annotated[str, typer.Argument(help="A GPU's UUID, or cpu.", show_default=False)],
    node: Annotated[str, typer.Argument(help="The node's name or id.", show_default=False)],
) -> None:
    """Have a banned device challenged again, once a day: three proofs in a row lift the ban."""
    with open_provider() as provider:
        for found in provider.proofs():
            if found.device == device and node in (found.node_id, found.node_name):
                provider.appeal(found.node_id, found.device)
                print(f"{found.node_name}: {device} is challenged again soon")
                return
    raise NotFound(f"no node {node} of yours has a device {device}", remedy="see: gridbay provider proofs")


@circuit_app.command()
def circuit(
    watts: Annotated[str, typer.Argument(help=f"Such as 3600, or {NO_LIMIT}.", show_default=False)],
) -> None:
    """Say what the GPUs may draw at once.

    Proofs are staggered in groups below it.
    """
    if watts != NO_LIMIT and not watts.isdigit():
        raise typer.BadParameter(f"a number of watts, or {NO_LIMIT}")
    with open_provider() as provider:
        provider.set_circuit(None if watts == NO_LIMIT else int(watts))
    print("proofs run at full power" if watts == NO_LIMIT else f"proofs draw {watts} W at most at once")
