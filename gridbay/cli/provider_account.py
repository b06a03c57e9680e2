"""`gridbay provider status|price|earnings|wallet|invite`: what a provider has on a market, from anywhere."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from gridbay.cli import wording
from gridbay.cli.console import Output, OutputOption, harmless
from gridbay.cli.listing import Column, show, show_one
from gridbay.cli.session import open_session, tell_retry
from gridbay.client.provider import Provider
from market.components import ComponentPrices
from market.errors import InvalidInput, NotFound
from market.money import format_usdc, parse_usdc
from market.provider_api import AskView, ConditionView, NodeView
from market.resources import Unit

status_app = typer.Typer()
price_app = typer.Typer(no_args_is_help=True)
earnings_app = typer.Typer()
terms_app = typer.Typer()
wallet_app = typer.Typer(invoke_without_command=True)
invite_app = typer.Typer()

NO_WALLET = "none yet, so nothing is sent: gridbay provider wallet set ADDRESS"


def _health(node: NodeView) -> str:
    """In a word or two; what it is, and what to do, stands below the table."""
    sick = sum(gpu.quarantined for gpu in node.gpus)
    if node.quarantined:
        return "quarantined"
    if sick:
        return f"{sick} of {len(node.gpus)} GPUs quarantined"
    return "see below" if node.conditions else "well"


COLUMNS = (
    Column("NODE", lambda node: node.name, rank=0),
    Column("STATE", lambda node: node.state, rank=0),
    Column("POOL", lambda node: node.pool),
    Column("HEALTH", _health, rank=1),
    Column("OFFERS", lambda node: " · ".join(_ask(ask, node) + _beside(ask) for ask in node.offers), wraps=True),
    Column("CPUS FREE", lambda node: f"{node.cpu_free_milli / 1000:g} of {node.cpu_total_milli / 1000:g}", right=True),
    Column("RAM FREE", lambda node: wording.size(node.memory_free_bytes), right=True, rank=2),
    Column("SANDBOX", lambda node: node.sandbox, rank=2),
    Column("SEEN", lambda node: wording.moment(node.last_seen_at), rank=3),
    Column("ID", lambda node: node.node_id, rank=2),
)


def open_provider() -> Provider:
    """The market as a provider sees it; to be used in a `with` block."""
    session = open_session("provider")
    return Provider(session.account.url, session.token("provider"), on_retry=tell_retry)


@status_app.command()
def status(output: OutputOption = Output.TABLE) -> None:
    """Show the provider's nodes and offers."""
    with open_provider() as provider:
        nodes = provider.nodes()
    if not nodes and output is Output.TABLE:
        print("no node yet: gridbay provider join, on the machine that is to be offered")
        return
    show(nodes, COLUMNS, output, name=lambda node: node.node_id)
    if output is Output.TABLE:
        for node in nodes:
            for condition in node.conditions:
                _tell(node, condition)


@price_app.callback()
def price() -> None:
    """Change what is asked."""


@price_app.command("set")
def set_price(
    amount: Annotated[str, typer.Argument(help="USDC for one unit and hour.", show_default=False)],
    node: Annotated[
        str | None, typer.Option("--node", help="Its id or name; not needed with one node.", show_default=False)
    ] = None,
    unit: Annotated[
        Unit | None, typer.Option("--unit", help="Not needed where only one is offered.", show_default=False)
    ] = None,
    cpu: Annotated[
        str | None, typer.Option("--cpu", help="USDC for an hour of a CPU beside GPUs.", show_default=False)
    ] = None,
    memory: Annotated[
        str | None, typer.Option("--memory", help="USDC for an hour of a GiB of memory.", show_default=False)
    ] = None,
    disk: Annotated[
        str | None, typer.Option("--disk", help="USDC for an hour of a GiB of disk.", show_default=False)
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Of this one alone: H100, or 1g.10gb (a slice).", show_default=False)
    ] = None,
) -> None:
    """Ask that price from now on; leases that run keep theirs.

    What a job takes beside its units costs nothing unless --cpu, --memory or --disk say so; without them it stays as it
    was.
    """
    asked = _usdc(amount)
    beside = {
        field: _usdc(text)
        for field, text in zip(ComponentPrices._fields, (cpu, memory, disk), strict=True)
        if text is not None
    }
    with open_provider() as provider:
        chosen = choose_node(provider.nodes(), node)
        meant = None if model is None else _one_of(chosen, model)
        units = sorted({ask.unit for ask in chosen.offers if meant in (None, ask.model)})
        if unit is None and len(units) != 1:
            raise InvalidInput(f"{chosen.name} offers {' and '.join(units)}", remedy="say --unit gpu or --unit cpu")
        changed = provider.set_price(chosen.node_id, unit or units[0], asked, beside, meant)
    for ask in changed.offers:
        print(f"{changed.name}: {_ask(ask, changed)} an hour{_beside(ask)}")


@earnings_app.command()
def earnings(output: OutputOption = Output.TABLE) -> None:
    """Show what was earned and paid."""
    with open_provider() as provider:
        found = provider.earnings()
    rows = [
        (
            "payable",
            f"{found.payable.usdc} USDC, sent when an epoch closes"
            if found.wallet_address
            else f"{found.payable.usdc} USDC",
        ),
        ("on its way", f"{found.paying.usdc} USDC"),
        ("paid", f"{found.paid.usdc} USDC, confirmed by the chain"),
        ("wallet", found.wallet_address or NO_WALLET),
    ]
    if found.rent is not None and found.rent.microusd:
        rows.append(("kept", f"{found.rent.usdc} USDC for making the wallet's token account"))
    if found.payable_from is not None and found.payable_from > datetime.now(UTC):
        rows.append(("not before", f"{found.payable_from:%Y-%m-%d %H:%M} UTC: the address has changed"))
    if found.threshold_microusd is not None:
        rows.append(("from", f"{format_usdc(found.threshold_microusd)} USDC on"))
    if found.every_hours is not None:
        rows.append(("every", f"{found.every_hours} hours at most"))
    if found.reversed.microusd:
        rows.append(("taken back", f"{found.reversed.usdc} USDC, by adjustments of posted charges"))
    if found.owed.microusd:
        rows.append(("still owed", f"{found.owed.usdc} USDC of it, kept of what is earned next"))
    if found.held:
        rows.append(("held", found.held))
    show_one(found, rows, output, name=found.payable.usdc)


@terms_app.command()
def payouts(
    threshold: Annotated[
        str | None, typer.Option("--from", help="USDC from which on it is paid.", show_default=False)
    ] = None,
    every_hours: Annotated[
        int | None, typer.Option("--every", min=1, help="Hours between payouts.", show_default=False)
    ] = None,
) -> None:
    """Say from how much on, and how often.

    Payouts are made so; what is not said is as the market has it.
    """
    try:
        least = parse_usdc(threshold) if threshold is not None else None
    except ValueError as error:
        raise InvalidInput(str(error)) from None
    with open_provider() as provider:
        provider.set_payout_terms(least, every_hours)
    often = f"every {every_hours} hours" if every_hours is not None else "as often as the market pays"
    print(f"payouts are made {often}, from {threshold or 'the least that the market pays'} on")


@wallet_app.callback()
def wallet(context: typer.Context) -> None:
    """Show or say where payouts go."""
    if context.invoked_subcommand is None:
        with open_provider() as provider:
            print(provider.earnings().wallet_address or NO_WALLET)


@wallet_app.command("set")
def set_wallet(
    address: Annotated[str, typer.Argument(help="The Solana address of a wallet of yours.", show_default=False)],
) -> None:
    """Send payouts there from now on."""
    with open_provider() as provider:
        provider.set_wallet(address)
    print(f"payouts go to {address}")


@invite_app.command()
def invite(
    *,
    uses: Annotated[int, typer.Option("--uses", min=1, max=1000, help="How many machines may join by it.")] = 1,
    hours: Annotated[int, typer.Option("--hours", min=1, max=720, help="For how long.")] = 24,
) -> None:
    """Make a token by which machines join."""
    session = open_session("provider")
    with Provider(session.account.url, session.token("provider"), on_retry=tell_retry) as provider:
        made = provider.create_join_token(uses=uses, expires_in_hours=hours)
    print(f"on the machine: gridbay provider join --portal {session.account.url} --token {made.token}")


def _tell(node: NodeView, condition: ConditionView) -> None:
    """One condition: what, why, and how it is mended."""
    indices = {gpu.uuid: gpu.index for gpu in node.gpus}
    where = node.name if condition.gpu_uuid is None else f"{node.name} GPU {indices.get(condition.gpu_uuid, '?')}"
    detail = f" ({condition.detail})" if condition.detail else ""
    kind = "quarantined" if condition.quarantines else "note"
    print(harmless(f"{where}: {kind} since {wording.moment(condition.began_at)}: {condition.reason}{detail}"))
    print(harmless(f"    mend: {condition.remedy}"))


def _ask(ask: AskView, node: NodeView) -> str:
    what = "CPU" if ask.unit is Unit.CPU else ask.model
    return f"{what}{' (simulated)' if node.simulated else ''} at {ask.price_per_unit_hour.usdc} USDC"


def _beside(ask: AskView) -> str:
    """What is asked beside the price of the units, in words."""
    if ask.components is None:
        return ""
    one = ask.components
    asked = (("a CPU", one.cpu_per_hour), ("a GiB of memory", one.memory_per_gib_hour))
    named = (*asked, ("a GiB of disk", one.disk_per_gib_hour))
    return "".join(f", {price.usdc} {what}" for what, price in named if price.microusd)


def _usdc(text: str) -> int:
    try:
        return parse_usdc(text)
    except ValueError as error:
        raise InvalidInput(str(error)) from None


def _one_of(node: NodeView, wanted: str) -> str:
    """The model of the node's offers that is meant: by its name, else by a part that one card's has, or one slice's."""
    models = sorted({ask.model for ask in node.offers})
    named = [name for name in models if wanted in name]
    cards = [name for name in named if " MIG " not in name]
    for found in ([name for name in named if name == wanted], cards, named):
        if len(found) == 1:
            return found[0]
    raise InvalidInput(f"{node.name} has no offer, or several, of {wanted}", remedy=f"say one of: {', '.join(models)}")


def choose_node(nodes: list[NodeView], wanted: str | None) -> NodeView:
    found = [node for node in nodes if wanted in (None, node.node_id, node.name)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(node.name for node in nodes) or "none"
    if not found:
        raise NotFound(f"there is no node {wanted or ''}".rstrip(), remedy=f"your nodes: {names}")
    raise InvalidInput("which node?", remedy=f"say --node with one of: {names}")
