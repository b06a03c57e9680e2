"""A node has the disk that is asked for."""

from dataclasses import replace

from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules.rule import Judges, Relaxing, Rule
from scheduler.placement.snapshot import Column, Flags, Places

TOTAL = Column(True, lambda node: node.disk_total_bytes)


def keeps(books: Books, request: Request, at: Places) -> Flags:
    """Offers of nodes that have as much in all."""
    return books.snapshot.numbers(TOTAL)[at] >= request.disk_bytes


def _least(books: Books, request: Request, at: Places) -> Request:
    return replace(request, disk_bytes=int(books.snapshot.numbers(TOTAL)[at].max()))


RULE = Rule(
    "disk",
    Judges.OFFER,
    "with too little disk",
    keeps,
    lambda request: request.disk_bytes > 0,
    Relaxing("disk", lambda request: f"{request.disk_bytes / 1e9:.4g}GB", _least),
)
