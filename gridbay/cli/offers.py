"""`gridbay offers`: what is for rent, and when nothing matches, what would."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
from market.measured import Measure, parse_at_least, rate_in_words
from market.money import parse_usdc
from market.resources import Unit

app = typer.Typer()


def _of(measure: Measure) -> Callable[[OfferView], str]:
    return lambda offer: rate_in_words(measure, value) if (value := offer.measured.get(measure.kind)) else ""


def _beside(part: str) -> Callable[[OfferView], str]:
    """A price of what is taken beside the units, where it is not 0."""
    return lambda offer: price.usdc if offer.components and (price := getattr(offer.components, part)).microusd else ""


BESIDE = (
    Column("CPU/h", _beside("cpu_per_hour"), right=True, rank=1),
    Column("RAM GiB/h", _beside("memory_per_gib_hour"), right=True, rank=1),
    Column("DISK GiB/h", _beside("disk_per_gib_hour"), right=True, rank=1),
)
"""There where an offer on the list asks for it."""
COLUMNS = (
    Column("NODE", lambda offer: offer.node_name, rank=0),
    Column("MODEL", wording.model, rank=0),
    Column("MEMORY", lambda offer: wording.size(offer.memory_bytes) if offer.unit is Unit.GPU else "", right=True),
    Column("FREE", lambda offer: f"{offer.free_milli / 1000:g} of {offer.total_milli / 1000:g}", right=True, rank=0),
    Column("USDC/h", lambda offer: offer.price_per_unit_hour.usdc, right=True, rank=0),
    *BESIDE,
    Column("VERIFIED", lambda offer: "yes" if offer.verified else "", rank=2),
    Column("USDC/Eop", lambda offer: offer.work_price.usdc if offer.work_price else "", right=True, rank=3),
    Column("MATRIX", _of(Measure.MATRIX), right=True, rank=3),
    Column("PCIE", _of(Measure.PCIE_TO_DEVICE), right=True, rank=4),
    Column("DISK", _of(Measure.DISK_READ), right=True, rank=4),
    Column("NET DOWN", _of(Measure.NETWORK_DOWN), right=True, rank=4),
    Column("NET UP", _of(Measure.NETWORK_UP), right=True, rank=4),
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
        str | None, typer.Option("--gpu", help="H100, H100:80GB, 24GB.., 24GB..48GB:2, A100:1g.5gb", show_default=False)
    ] = None,
    max_price: Annotated[
        str | None, typer.Option("--max-price", help="USDC for one unit and hour, at most.", show_default=False)
    ] = None,
    unit: Annotated[Unit | None, typer.Option("--unit", help="GPUs or CPUs only.", show_default=False)] = None,
    simulated: Annotated[
        bool | None, typer.Option("--simulated/--real", help="Only simulated ones, or none.", show_default=False)
    ] = None,
    verified: Annotated[bool, typer.Option("--verified", help="Only of nodes that have proven themselves.")] = False,
    at_least: Annotated[
        list[str] | None,
        typer.Option(
            "--at-least",
            metavar="WHAT=HOW MUCH",
            help=f"Measured at that a second, or more: network_down=100Mbit, matrix=200T. WHAT: {', '.join(Measure)}.",
            show_default=False,
        ),
    ] = None,
    order: Annotated[Order, typer.Option("--sort", help="By what.")] = Order.PRICE,
    output: OutputOption = Output.TABLE,
) -> None:
    """List what is for rent, cheapest first."""
    if max_price is not None:
        _require_price(max_price)
    asked = at_least or []
    _require_measures(asked)
    wanted = Wanted(gpu, max_price, unit, simulated, verified, asked)
    with open_market() as market:
        found = wanted.search(market, "work" if order is Order.WORK else None)
        if not found and output is Output.TABLE:
            remarks().print(_instead(market, wanted))
            return
    found.sort(key=_KEYS[order])
    columns = [one for one in COLUMNS if one not in BESIDE or any(map(one.cell, found))]
    show(found, columns, output, name=lambda offer: offer.offer_id)
    less = found[0].discount_basis_points if found else 0
    if less and output is Output.TABLE:
        remarks().print(f"prices are {less / 100:g}% below what is asked: your organization's discount")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the options ask for; each may be left out."""

    gpu: str | None = None
    max_price: str | None = None
    unit: Unit | None = None
    simulated: bool | None = None
    verified: bool = False
    at_least: Sequence[str] = ()

    def search(self, market: Gridbay, sort: str | None = None) -> list[OfferView]:
        return market.offers(
            gpu=self.gpu,
            max_price=self.max_price,
            unit=self.unit,
            simulated=self.simulated,
            verified=self.verified,
            at_least=self.at_least,
            sort=sort,
        )


def _require_measures(texts: Sequence[str]) -> None:
    try:
        parse_at_least(texts)
    except ValueError as error:
        raise InvalidInput(f"--at-least: {error}") from None


def _require_price(text: str) -> None:
    try:
        parse_usdc(text)
    except ValueError as error:
        raise InvalidInput(f"--max-price: {error}") from None


def _instead(market: Gridbay, wanted: Wanted) -> str:
    """Why nothing matches, by what would if one condition were left out."""
    if wanted.at_least:
        slower = replace(wanted, at_least=()).search(market)
        if slower:
            best = ", ".join(_best(slower, measure) for measure in parse_at_least(wanted.at_least))
            return (
                f"no offer was measured at {', '.join(wanted.at_least)}; without --at-least: {_range(slower)} ({best})"
            )
    if wanted.max_price is not None:
        dearer = replace(wanted, max_price=None, at_least=()).search(market)
        if dearer:
            return f"no offer at {wanted.max_price} USDC or less; without --max-price: {_range(dearer)}"
    if wanted.gpu is not None:
        others = replace(wanted, gpu=None, at_least=()).search(market)
        if others:
            models = sorted({wording.model(offer) for offer in others})
            return f"no offer has the GPUs {wanted.gpu}; without --gpu: {_range(others)} ({', '.join(models[:8])})"
    everything = Wanted().search(market)
    if everything:
        return f"no offer matches; without any condition: {_range(everything)}"
    return "no node offers anything that may be rented right now; with `gridbay provider join` this machine can"


def _best(found: Sequence[OfferView], measure: Measure) -> str:
    most = max(offer.measured.get(measure.kind, 0) for offer in found)
    return f"{measure} at best {rate_in_words(measure, most)}" if most else f"{measure} not measured yet"


def _range(found: Sequence[OfferView]) -> str:
    prices = sorted(offer.price_per_unit_hour.microusd for offer in found)
    first = next(o for o in found if o.price_per_unit_hour.microusd == prices[0]).price_per_unit_hour.usdc
    count = f"{len(found)} offer{'' if len(found) == 1 else 's'}"
    return f"{count} from {first} USDC/h"
