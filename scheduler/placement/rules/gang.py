"""A gang's members stand on as many nodes of one pool, all of them or none."""

from dataclasses import replace

import numpy as np

from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules.rule import Judges, Relaxing, Rule
from scheduler.placement.snapshot import Flags, Numbers, Places


def _nodes_of_its_pool(books: Books, at: Places) -> Numbers:
    """By offer: on how many nodes of its pool these offers stand."""
    _, pool = np.unique(books.providers[0][at], return_inverse=True)
    _, first = np.unique(books.snapshot.node_of[at], return_index=True)
    counts: Numbers = np.bincount(pool[first], minlength=1).astype(np.int64)
    return counts[pool]


def keeps(books: Books, request: Request, at: Places) -> Flags:
    """Offers in pools with nodes enough."""
    return _nodes_of_its_pool(books, at) >= request.members


def _least(books: Books, request: Request, at: Places) -> Request:
    return replace(request, members=int(_nodes_of_its_pool(books, at).max()))


def _rule(name: str, judges: Judges, removes: str) -> Rule:
    return Rule(
        name,
        judges,
        removes,
        keeps,
        lambda request: request.members > 1,
        Relaxing("members", lambda request: str(request.members), _least),
        of_many=True,
    )


RULE = _rule("gang", Judges.OFFER, "in pools with too few nodes for the gang")
RULE_FREE = _rule("gang_free", Judges.ROOM, "in pools with too few free nodes for the gang now")
