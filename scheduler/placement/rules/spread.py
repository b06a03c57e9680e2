"""A group that is spread has at most so many members on a node."""

from dataclasses import replace

from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules.rule import Judges, Relaxing, Rule
from scheduler.placement.snapshot import Flags, Places


def keeps(books: Books, request: Request, at: Places) -> Flags:
    """Offers of nodes with fewer members."""
    return books.in_group(request.group, books.snapshot.node_of[at]) < request.group_max


def _least(books: Books, request: Request, at: Places) -> Request:
    fewest = int(books.in_group(request.group, books.snapshot.node_of[at]).min())
    return replace(request, group_max=fewest + 1)


RULE = Rule(
    "spread",
    Judges.ROOM,
    "on nodes that run as many of its group as may be",
    keeps,
    lambda request: bool(request.group and request.group_max),
    Relaxing("members of a group on one node", lambda request: str(request.group_max), _least),
)
