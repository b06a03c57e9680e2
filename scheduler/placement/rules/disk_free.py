"""No lease holds the disk that is asked for."""

from dataclasses import replace

from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules.rule import Judges, Relaxing, Rule
from scheduler.placement.snapshot import Flags, Places


def keeps(books: Books, request: Request, at: Places) -> Flags:
    """Offers of nodes that have as much free."""
    return books.disk[books.snapshot.node_of[at]] >= request.disk_bytes


def _least(books: Books, request: Request, at: Places) -> Request | None:
    most = int(books.disk[books.snapshot.node_of[at]].max())
    return replace(request, disk_bytes=most) if most > 0 else None


RULE = Rule(
    "disk_free",
    Judges.ROOM,
    "whose disk is taken now",
    keeps,
    lambda request: request.disk_bytes > 0,
    Relaxing("disk", lambda request: f"{request.disk_bytes / 1e9:.4g}GB", _least),
)
