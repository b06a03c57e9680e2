"""A GPU has the compute capability that is asked for."""

from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules.rule import Judges, Relaxing, Rule, dotted, with_terms
from scheduler.placement.snapshot import Facet, Flags, Places

HAS = Facet(False, lambda offer: offer.compute_capability)


def keeps(books: Books, request: Request, at: Places) -> Flags:
    """Offers of that version or a newer one; not of one that nobody knows."""
    return books.snapshot.where(HAS, lambda version: version >= request.terms.compute_capability_min, at)


def _least(books: Books, request: Request, at: Places) -> Request:
    """The newest that these offers have."""
    newest = max(books.snapshot.offers[place].compute_capability for place in at.tolist())
    return with_terms(request, compute_capability_min=newest)


RULE = Rule(
    "compute_capability",
    Judges.OFFER,
    "of a lower compute capability",
    keeps,
    lambda request: bool(request.terms.compute_capability_min),
    Relaxing("compute capability", lambda request: dotted(request.terms.compute_capability_min) or "any", _least),
)
