"""A node's network is as fast as is asked for."""

from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules.rule import Judges, Relaxing, Rule, with_terms
from scheduler.placement.snapshot import Column, Flags, Places

HAS = Column(True, lambda node: node.network_mbit)


def keeps(books: Books, request: Request, at: Places) -> Flags:
    """Offers with at least that."""
    return books.snapshot.numbers(HAS)[at] >= request.terms.network_mbit_min


def _least(books: Books, request: Request, at: Places) -> Request:
    return with_terms(request, network_mbit_min=int(books.snapshot.numbers(HAS)[at].max()))


RULE = Rule(
    "network",
    Judges.OFFER,
    "with a slower network",
    keeps,
    lambda request: request.terms.network_mbit_min > 0,
    Relaxing("network", lambda request: f"{request.terms.network_mbit_min} Mbit/s", _least),
)
