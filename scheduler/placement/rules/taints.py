"""A tainted node is for requests that tolerate every taint of it."""

from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules.rule import Judges, Relaxing, Rule, listed, with_terms
from scheduler.placement.snapshot import Facet, Flags, Places

TAINTS = Facet(True, lambda node: node.taints)


def keeps(books: Books, request: Request, at: Places) -> Flags:
    """Offers of nodes whose taints are tolerated."""
    return books.snapshot.where(TAINTS, lambda taints: taints <= request.terms.tolerations, at)


def _least(books: Books, request: Request, at: Places) -> Request:
    """The fewest taints more."""
    nodes = [books.snapshot.nodes[node].taints for node in books.snapshot.node_of[at].tolist()]
    tolerated = request.terms.tolerations
    more = min((taints - tolerated for taints in nodes), key=lambda taints: (len(taints), sorted(taints)))
    return with_terms(request, tolerations=tolerated | more)


RULE = Rule(
    "taints",
    Judges.OFFER,
    "with a taint that is not tolerated",
    keeps,
    relaxing=Relaxing("tolerations", lambda request: listed(request.terms.tolerations) or "none", _least),
)
