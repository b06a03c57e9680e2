"""`gridbay offers`: what is for rent, and when nothing matches, what would."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from gridbay.cli import wording
from gridbay.cli.console import Output, OutputOption, remarks
from gridbay.cli.listing import Column, show
from gridbay.cli.session import open_market
from gridbay.client.sdk import Gridbay
from market.customer_api import OfferView
from market.errors import InvalidInput
from market.money import parse_usdc
from market.resources import Unit

app = typer.Typer()
COLUMNS = (
    Column("NODE", lambda offer: offer.node_name, rank=0),
    Column("MODEL", wording.model, rank=0),
    Column("MEMORY", lambda offer: wording.size(offer.memory_bytes) if offer.unit is Unit.GPU else "", right=True),
    Column("FREE", lambda offer: f"{offer.free_milli / 1000:g} of {offer.total_milli / 1000:g}", right=True, rank=0),
    Column("USDC/h", lambda offer: offer.price_per_unit_hour.usdc, right=True, rank=0),
    Column("VERIFIED", lambda offer: "yes" if offer.verified else "", rank=2),
    Column("USDC/Eop", lambda offer: offer.work_price.usdc if offer.work_price else "", right=True, rank=3),
    Column("RAM FREE", lambda offer: wording.size(offer.memory_free_bytes), right=True),
    Column("CPUS FREE", lambda offer: f"{offer.cpu_free_milli / 1000:g}", right=True),
    Column("OFFER", lambda offer: offer.offer_id, rank=2),
)


class Order(StrEnum):
    PRICE = "price"
    MEMORY = "memory"
    FREE = "free"
    MODEL = "model"
    WORK = "work"


_KEYS: dict[Order, Callable[[OfferView], tuple[Any, ...]]] = {
    Order.PRICE: lambda offer: (offer.price_per_unit_hour.microusd, offer.node_name),
    Order.MEMORY: lambda offer: (-offer.memory_bytes, offer.price_per_unit_hour.microusd),
    Order.FREE: lambda offer: (-offer.free_milli, offer.price_per_unit_hour.microusd),
    Order.WORK: lambda offer: (offer.work_price is None, offer.work_price.microusd if offer.work_price else 0),
    Order.MODEL: lambda offer: (offer.model, offer.price_per_unit_hour.microusd),
}


@app.command()
def offers(
    *,
    gpu: Annotated[
        str | None, typer.Option("--gpu", help="H100, H100:80GB, 24GB.., 24GB..48GB:2", show_default=False)
    ] = None,
    max_price: Annotated[
        str | None, typer.Option("--max-price", help="USDC for one unit and hour, at most.", show_default=False)
    ] = None,
    unit: Annotated[Unit | None, typer.Option("--unit", help="GPUs or CPUs only.", show_default=False)] = None,
    simulated: Annotated[
        bool | None, typer.Option("--simulated/--real", help="Only simulated ones, or none.", show_default=False)
    ] = None,
    verified: Annotated[bool, typer.Option("--verified", help="Only of nodes that have proven themselves.")] = False,
    order: Annotated[Order, typer.Option("--sort", help="By what.")] = Order.PRICE,
    output: OutputOption = Output.TABLE,
) -> None:
    """List what is for rent, cheapest first."""
    if max_price is not None:
        _require_price(max_price)
    with open_market() as market:
        found = market.offers(gpu=gpu, max_price=max_price, unit=unit, simulated=simulated, verified=verified)
        if not found and output is Output.TABLE:
            remarks().print(_instead(market, gpu, max_price, unit, simulated))
            return
    found.sort(key=_KEYS[order])
    show(found, COLUMNS, output, name=lambda offer: offer.offer_id)


def _require_price(text: str) -> None:
    try:
        parse_usdc(text)
    except ValueError as error:
        raise InvalidInput(f"--max-price: {error}") from None


def _instead(market: Gridbay, gpu: str | None, max_price: str | None, unit: Unit | None, simulated: bool | None) -> str:
    """Why nothing matches, by what would if one condition were left out."""
    if max_price is not None:
        dearer = market.offers(gpu=gpu, unit=unit, simulated=simulated)
        if dearer:
            return f"no offer at {max_price} USDC or less; without --max-price: {_range(dearer)}"
    if gpu is not None:
        others = market.offers(max_price=max_price, unit=unit, simulated=simulated)
        if others:
            models = sorted({wording.model(offer) for offer in others})
            return f"no offer has the GPUs {gpu}; without --gpu: {_range(others)} ({', '.join(models[:8])})"
    everything = market.offers()
    if everything:
        return f"no offer matches; without any condition: {_range(everything)}"
    return "no node offers anything right now; with `gridbay provider join` this machine can"


def _range(found: Sequence[OfferView]) -> str:
    prices = sorted(offer.price_per_unit_hour.microusd for offer in found)
    first = next(o for o in found if o.price_per_unit_hour.microusd == prices[0]).price_per_unit_hour.usdc
    count = f"{len(found)} offer{'' if len(found) == 1 else 's'}"
    return f"{count} from {first} USDC/h"
