"""A node's driver is new enough."""

from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules.rule import Judges, Relaxing, Rule, dotted, with_terms
from scheduler.placement.snapshot import Facet, Flags, Places

HAS = Facet(True, lambda node: node.driver)


def keeps(books: Books, request: Request, at: Places) -> Flags:
    """Offers of that version or a newer one; not of one that nobody knows."""
    return books.snapshot.where(HAS, lambda version: version >= request.terms.driver_min, at)


def _least(books: Books, request: Request, at: Places) -> Request:
    """The newest that these offers have."""
    newest = max(books.snapshot.nodes[books.snapshot.node_of[place]].driver for place in at.tolist())
    return with_terms(request, driver_min=newest)


RULE = Rule(
    "driver",
    Judges.OFFER,
    "with an older driver",
    keeps,
    lambda request: bool(request.terms.driver_min),
    Relaxing("driver", lambda request: dotted(request.terms.driver_min) or "any", _least),
)
