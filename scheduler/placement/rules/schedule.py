"""An offer with a schedule is open now, and as long as the request may run."""

from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules.ending import FOREVER
from scheduler.placement.rules.rule import Judges, Relaxing, Rule, with_terms
from scheduler.placement.snapshot import Column, Flags, Places

OPEN = Column(False, lambda offer: FOREVER if offer.open_seconds is None else offer.open_seconds)


def keeps(books: Books, request: Request, at: Places) -> Flags:
    """Offers that are open long enough."""
    return books.snapshot.numbers(OPEN)[at] >= max(request.terms.duration_seconds, 1)


def _least(books: Books, request: Request, at: Places) -> Request | None:
    longest = int(books.snapshot.numbers(OPEN)[at].max())
    return with_terms(request, duration_seconds=longest) if longest > 0 else None


RULE = Rule(
    "schedule",
    Judges.NOW,
    "that are closed now, or close too soon",
    keeps,
    relaxing=Relaxing("max_duration", lambda request: f"{request.terms.duration_seconds}s", _least),
)
