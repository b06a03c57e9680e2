"""A provider and its devices were verified as far as is asked for."""

from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules.rule import Judges, Relaxing, Rule, with_terms
from scheduler.placement.snapshot import Column, Flags, Places

HAS = Column(True, lambda node: node.tier)


def keeps(books: Books, request: Request, at: Places) -> Flags:
    """Offers with at least that."""
    return books.snapshot.numbers(HAS)[at] >= request.terms.tier_min


def _least(books: Books, request: Request, at: Places) -> Request:
    return with_terms(request, tier_min=int(books.snapshot.numbers(HAS)[at].max()))


RULE = Rule(
    "tier",
    Judges.OFFER,
    "verified less far",
    keeps,
    lambda request: request.terms.tier_min > 0,
    Relaxing("verified tier", lambda request: str(request.terms.tier_min), _least),
)
