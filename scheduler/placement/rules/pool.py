"""A node's Ray pool is ready."""

from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules.rule import Judges, Rule
from scheduler.placement.snapshot import Column, Flags, Places

FLAG = Column(True, lambda node: node.pool_ready)


def keeps(books: Books, _: Request, at: Places) -> Flags:
    """Offers of such nodes."""
    return books.snapshot.holds(FLAG, at)


RULE = Rule("pool", Judges.NOW, "on nodes whose pool is not ready", keeps)
