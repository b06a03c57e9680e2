"""A spot job's bid is not below what the provider takes for such jobs."""

from dataclasses import replace

from market.money import format_usdc
from scheduler.placement import prices
from scheduler.placement.books import Books
from scheduler.placement.facts import NodeFacts
from scheduler.placement.requests import Request
from scheduler.placement.rules.rule import Judges, Relaxing, Rule
from scheduler.placement.snapshot import Column, Flags, Numbers, Places


def _floor(node: NodeFacts) -> int:
    return node.spot_floor_milli or 0


_FLOOR = Column(True, _floor)


def floors(books: Books, request: Request, at: Places) -> Numbers:
    """The least that the request may bid for a unit and hour of these offers, in micro-USDC."""
    found: Numbers = -(-prices.asked(books.snapshot, request, at) * books.snapshot.numbers(_FLOOR)[at] // 1000)
    return request.price_of(found)


def keeps(books: Books, request: Request, at: Places) -> Flags:
    """Offers whose floor the bid reaches."""
    found: Flags = floors(books, request, at) <= request.bid
    return found


def _least(books: Books, request: Request, at: Places) -> Request:
    """A bid as high as the lowest floor of these offers."""
    return replace(request, price_limit_microusd_per_unit_hour=int(floors(books, request, at).min()))


RULE = Rule(
    "spot_floor",
    Judges.OFFER,
    "whose floor for spot jobs is above the bid",
    keeps,
    lambda request: request.spot,
    Relaxing("max_price", lambda request: format_usdc(request.price_limit_microusd_per_unit_hour or 0), _least),
)
