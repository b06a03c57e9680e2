"""A node has the CPUs that are asked for."""

from dataclasses import replace

from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules.rule import Judges, Relaxing, Rule
from scheduler.placement.snapshot import Column, Flags, Places

TOTAL = Column(True, lambda node: node.cpu_total_milli)


def keeps(books: Books, request: Request, at: Places) -> Flags:
    """Offers of nodes that have as much in all."""
    return books.snapshot.numbers(TOTAL)[at] >= request.cpu_milli


def _least(books: Books, request: Request, at: Places) -> Request:
    return replace(request, cpu_milli=int(books.snapshot.numbers(TOTAL)[at].max()))


RULE = Rule(
    "cpu",
    Judges.OFFER,
    "with too few CPUs",
    keeps,
    lambda request: request.cpu_milli > 0,
    Relaxing("cpu", lambda request: f"{request.cpu_milli / 1000:g}", _least),
)
