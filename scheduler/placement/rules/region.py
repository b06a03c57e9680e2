"""A node stands in a region that will do."""

from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules.rule import Judges, Relaxing, Rule, listed, with_terms
from scheduler.placement.snapshot import Facet, Flags, Places

REGION = Facet(True, lambda node: node.region)


def keeps(books: Books, request: Request, at: Places) -> Flags:
    """Offers of nodes in one of the regions."""
    return books.snapshot.where(REGION, lambda region: region in request.terms.regions, at)


def _least(books: Books, request: Request, at: Places) -> Request | None:
    """One region more: that of the most of these offers; where nobody said one, any."""
    nodes = [books.snapshot.nodes[node].region for node in books.snapshot.node_of[at].tolist()]
    known = sorted(set(nodes) - {""}, key=lambda region: (-nodes.count(region), region))
    return with_terms(request, regions=request.terms.regions | {known[0]} if known else frozenset())


RULE = Rule(
    "region",
    Judges.OFFER,
    "in another region",
    keeps,
    lambda request: bool(request.terms.regions),
    Relaxing("region", lambda request: listed(request.terms.regions) or "any", _least),
)
