"""The host reaches each GPU as fast as is asked for."""

from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules.rule import Judges, Relaxing, Rule, with_terms
from scheduler.placement.snapshot import Column, Flags, Places

HAS = Column(False, lambda offer: offer.pcie_mb)


def keeps(books: Books, request: Request, at: Places) -> Flags:
    """Offers with at least that."""
    return books.snapshot.numbers(HAS)[at] >= request.terms.pcie_mb_min


def _least(books: Books, request: Request, at: Places) -> Request:
    return with_terms(request, pcie_mb_min=int(books.snapshot.numbers(HAS)[at].max()))


RULE = Rule(
    "pcie",
    Judges.OFFER,
    "with slower PCIe",
    keeps,
    lambda request: request.terms.pcie_mb_min > 0,
    Relaxing("pcie", lambda request: f"{request.terms.pcie_mb_min} MB/s", _least),
)
