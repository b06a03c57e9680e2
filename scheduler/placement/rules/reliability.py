"""A node has been as reliable as is asked for."""

from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules.rule import Judges, Relaxing, Rule, with_terms
from scheduler.placement.snapshot import Column, Flags, Places

HAS = Column(True, lambda node: node.reliability_milli)


def keeps(books: Books, request: Request, at: Places) -> Flags:
    """Offers with at least that."""
    return books.snapshot.numbers(HAS)[at] >= request.terms.reliability_milli_min


def _least(books: Books, request: Request, at: Places) -> Request:
    return with_terms(request, reliability_milli_min=int(books.snapshot.numbers(HAS)[at].max()))


RULE = Rule(
    "reliability",
    Judges.OFFER,
    "less reliable",
    keeps,
    lambda request: request.terms.reliability_milli_min > 0,
    Relaxing("reliability", lambda request: f"{request.terms.reliability_milli_min / 1000:g}", _least),
)
