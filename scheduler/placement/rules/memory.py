"""A node has the memory that is asked for."""

from dataclasses import replace

from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules.rule import Judges, Relaxing, Rule
from scheduler.placement.snapshot import Column, Flags, Places

TOTAL = Column(True, lambda node: node.memory_total_bytes)


def keeps(books: Books, request: Request, at: Places) -> Flags:
    """Offers of nodes that have as much in all."""
    return books.snapshot.numbers(TOTAL)[at] >= request.memory_bytes


def _least(books: Books, request: Request, at: Places) -> Request:
    return replace(request, memory_bytes=int(books.snapshot.numbers(TOTAL)[at].max()))


RULE = Rule(
    "memory",
    Judges.OFFER,
    "with too little memory",
    keeps,
    lambda request: request.memory_bytes > 0,
    Relaxing("memory", lambda request: f"{request.memory_bytes / 1e9:.4g}GB", _least),
)
