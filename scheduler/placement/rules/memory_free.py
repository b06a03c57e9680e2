"""No lease holds the memory that is asked for."""

from dataclasses import replace

from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules.rule import Judges, Relaxing, Rule
from scheduler.placement.snapshot import Flags, Places


def keeps(books: Books, request: Request, at: Places) -> Flags:
    """Offers of nodes that have as much free."""
    return books.memory[books.snapshot.node_of[at]] >= request.memory_bytes


def _least(books: Books, request: Request, at: Places) -> Request | None:
    most = int(books.memory[books.snapshot.node_of[at]].max())
    return replace(request, memory_bytes=most) if most > 0 else None


RULE = Rule(
    "memory_free",
    Judges.ROOM,
    "whose memory is taken now",
    keeps,
    lambda request: request.memory_bytes > 0,
    Relaxing("memory", lambda request: f"{request.memory_bytes / 1e9:.4g}GB", _least),
)
