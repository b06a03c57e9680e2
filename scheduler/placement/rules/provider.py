"""A provider is among those that are allowed, and not among those that are denied."""

from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules.rule import Judges, Relaxing, Rule, listed, with_terms
from scheduler.placement.snapshot import Facet, Flags, Places

PROVIDER = Facet(True, lambda node: node.provider_id)


def keeps(books: Books, request: Request, at: Places) -> Flags:
    """Offers of providers that will do."""
    allowed, denied = request.terms.providers, request.terms.providers_denied
    return books.snapshot.where(
        PROVIDER, lambda provider: provider not in denied and (not allowed or provider in allowed), at
    )


def _least(books: Books, request: Request, at: Places) -> Request:
    """One provider more: that of the most of these offers."""
    offered = [books.snapshot.nodes[node].provider_id for node in books.snapshot.node_of[at].tolist()]
    best = min(set(offered), key=lambda provider: (-offered.count(provider), provider))
    allowed = request.terms.providers and request.terms.providers | {best}
    return with_terms(request, providers=allowed, providers_denied=request.terms.providers_denied - {best})


def _says(request: Request) -> str:
    denied = listed(request.terms.providers_denied)
    return (listed(request.terms.providers) or "any") + (f" but {denied}" if denied else "")


RULE = Rule(
    "provider",
    Judges.OFFER,
    "of another provider",
    keeps,
    lambda request: bool(request.terms.providers or request.terms.providers_denied),
    Relaxing("provider", _says, _least),
)
