"""Spot jobs come where their provider takes them."""

from dataclasses import replace

from scheduler.placement.books import Books
from scheduler.placement.facts import NodeFacts
from scheduler.placement.requests import Request
from scheduler.placement.rules.rule import Judges, Relaxing, Rule
from scheduler.placement.snapshot import Column, Flags, Places


def _taken(node: NodeFacts) -> int:
    return int(node.spot_floor_milli is not None)


_TAKEN = Column(True, _taken)


def keeps(books: Books, _: Request, at: Places) -> Flags:
    """Offers whose provider takes spot jobs."""
    return books.snapshot.holds(_TAKEN, at)


def _not_spot(_: Books, request: Request, __: Places) -> Request:
    return replace(request, spot=False)


RULE = Rule(
    "spot",
    Judges.OFFER,
    "whose provider takes no spot jobs",
    keeps,
    lambda request: request.spot,
    Relaxing("spot", lambda request: "true" if request.spot else "false", _not_spot),
)
