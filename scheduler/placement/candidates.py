"""Which offers suit each shape of request, and at what price, kept from one decision to the next."""

from dataclasses import dataclass

import numpy as np

from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.rules import LASTING_RULES, ROOM_RULES
from scheduler.placement.sieve import passing
from scheduler.placement.snapshot import Flags, Numbers, Places

UNFIT = int(np.iinfo(np.int64).max)
"""The price of an offer that does not suit."""
SHAPES_MAX = 512
TOUCHED_MAX = 1 << 16


@dataclass(slots=True)
class _Shape:
    """lasting: which offers suit but for what of them is free. asking: by offer, the price where it suits now. seen:
    how many of the touches are in it. facts: of which facts lasting is."""

    lasting: Flags
    asking: Numbers
    seen: int
    facts: int


class Candidates:
    """What is told of a node is judged again only for shapes that are asked for after that."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._every = np.arange(len(books.snapshot.offers))
        self._shapes: dict[object, _Shape] = {}
        self._touched: list[int] = []
        self._freed = 0
        self._facts = 0

    def asking(self, shape: object, request: Request) -> Numbers:
        """By offer: its price where it suits the request now, UNFIT elsewhere. The array is not the caller's."""
        known = self._shapes.pop(shape, None)
        if known is None or known.facts != self._facts:
            known = self._judged(request)
            if len(self._shapes) >= SHAPES_MAX:
                del self._shapes[next(iter(self._shapes))]
        elif known.seen < len(self._touched):
            self._judge_again(known, request)
        self._shapes[shape] = known
        return known.asking

    def drawn(self, node: int) -> None:
        """Something of the node was taken."""
        if len(self._touched) >= TOUCHED_MAX:
            self._shapes.clear()
            self._touched.clear()
            self._freed = 0
        self._touched.extend(self._books.offers_of[node])

    def freed(self, node: int) -> None:
        """What of the node is free was written anew: there may be more of it."""
        self.drawn(node)
        self._freed = len(self._touched)

    def facts_changed(self) -> None:
        """Something else than what is free has changed somewhere."""
        self._facts += 1

    def _judged(self, request: Request) -> _Shape:
        lasting = np.zeros(len(self._every), dtype=np.bool_)
        stay = passing(self._books, request, self._every, LASTING_RULES)
        lasting[stay] = True
        shape = _Shape(lasting, np.full(len(self._every), UNFIT), len(self._touched), self._facts)
        self._ask(shape, request, stay)
        return shape

    def _judge_again(self, shape: _Shape, request: Request) -> None:
        touched = set(self._touched[shape.seen :])
        at = np.fromiter(touched, np.intp, len(touched))
        # Where nothing was freed since, an offer that did not suit does not suit now.
        at = at[shape.asking[at] < UNFIT] if shape.seen >= self._freed else at[shape.lasting[at]]
        shape.seen = len(self._touched)
        if len(at):
            shape.asking[at] = UNFIT
            self._ask(shape, request, at)

    def _ask(self, shape: _Shape, request: Request, at: Places) -> None:
        suits = passing(self._books, request, at, ROOM_RULES)
        shape.asking[suits] = self._books.snapshot.price[suits]
