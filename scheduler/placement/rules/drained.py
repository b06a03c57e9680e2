"""A drained node takes no new work."""

from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules.rule import Judges, Rule
from scheduler.placement.snapshot import Column, Flags, Places

FLAG = Column(True, lambda node: node.drained)


def keeps(books: Books, _: Request, at: Places) -> Flags:
    """Offers of the other nodes."""
    return ~books.snapshot.holds(FLAG, at)


RULE = Rule("drained", Judges.OFFER, "on nodes that are drained", keeps)
