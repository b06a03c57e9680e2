"""A node has every label that is asked for."""

from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules.rule import Judges, Relaxing, Rule, listed, with_terms
from scheduler.placement.snapshot import Facet, Flags, Places

LABELS = Facet(True, lambda node: node.labels)


def keeps(books: Books, request: Request, at: Places) -> Flags:
    """Offers of nodes that have them."""
    return books.snapshot.where(LABELS, lambda labels: labels >= request.terms.labels, at)


def _least(books: Books, request: Request, at: Places) -> Request:
    """The most of them that one of these nodes has."""
    wanted = request.terms.labels
    nodes = [books.snapshot.nodes[node].labels for node in books.snapshot.node_of[at].tolist()]
    best = min((labels & wanted for labels in nodes), key=lambda labels: (-len(labels), sorted(labels)))
    return with_terms(request, labels=best)


RULE = Rule(
    "labels",
    Judges.OFFER,
    "without a label that is asked for",
    keeps,
    lambda request: bool(request.terms.labels),
    Relaxing("labels", lambda request: listed(request.terms.labels) or "any", _least),
)
