"""No lease holds the cpu that is asked for."""

from dataclasses import replace

from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules.rule import Judges, Relaxing, Rule
from scheduler.placement.snapshot import Flags, Places


def keeps(books: Books, request: Request, at: Places) -> Flags:
    """Offers of nodes that have as much free."""
    return books.cpu[books.snapshot.node_of[at]] >= request.cpu_milli


def _least(books: Books, request: Request, at: Places) -> Request | None:
    most = int(books.cpu[books.snapshot.node_of[at]].max())
    return replace(request, cpu_milli=most) if most > 0 else None


RULE = Rule(
    "cpu_free",
    Judges.ROOM,
    "whose CPUs are taken now",
    keeps,
    lambda request: request.cpu_milli > 0,
    Relaxing("cpu", lambda request: f"{request.cpu_milli / 1000:g}", _least),
)
