"""No offer is dearer to the request than its limit, but for spot jobs: these pay what they bid."""

from dataclasses import replace

from market.money import format_usdc
from scheduler.placement import prices
from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules.rule import Judges, Relaxing, Rule
from scheduler.placement.snapshot import Flags, Places


def keeps(books: Books, request: Request, at: Places) -> Flags:
    """Offers at the limit or below."""
    return prices.paid(books.snapshot, request, at) <= (request.price_limit_microusd_per_unit_hour or 0)


def _least(books: Books, request: Request, at: Places) -> Request:
    """A limit as high as the cheapest of these offers asks."""
    return replace(request, price_limit_microusd_per_unit_hour=int(prices.paid(books.snapshot, request, at).min()))


def _says(request: Request) -> str:
    limit = request.price_limit_microusd_per_unit_hour
    return "any" if limit is None else format_usdc(limit)


RULE = Rule(
    "price",
    Judges.OFFER,
    "above the price limit",
    keeps,
    lambda request: request.price_limit_microusd_per_unit_hour is not None and not request.spot,
    Relaxing("max_price", _says, _least),
)
