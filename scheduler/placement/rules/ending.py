"""An offer with an end date stands as long as the request may run."""

from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules.rule import Judges, Relaxing, Rule, with_terms
from scheduler.placement.snapshot import Column, Flags, Places

FOREVER = 1 << 62
LEFT = Column(False, lambda offer: FOREVER if offer.left_seconds is None else offer.left_seconds)


def keeps(books: Books, request: Request, at: Places) -> Flags:
    """Offers that have not ended, and will not before the request does."""
    return books.snapshot.numbers(LEFT)[at] >= max(request.terms.duration_seconds, 1)


def _least(books: Books, request: Request, at: Places) -> Request | None:
    longest = int(books.snapshot.numbers(LEFT)[at].max())
    return with_terms(request, duration_seconds=longest) if longest > 0 else None


RULE = Rule(
    "ending",
    Judges.OFFER,
    "that end too soon",
    keeps,
    relaxing=Relaxing("max_duration", lambda request: f"{request.terms.duration_seconds}s", _least),
)
