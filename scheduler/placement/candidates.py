"""Which offers suit each shape of request, and at what price, kept from one decision to the next."""

from dataclasses import dataclass

import numpy as np

from scheduler.placement import prices
from scheduler.placement.books import Books
from scheduler.placement.demand import Need
from scheduler.placement.requests import Request
from scheduler.placement.rules import LASTING_RULES, ROOM_RULES
from scheduler.placement.sieve import passing
from scheduler.placement.snapshot import Flags, Numbers, Places

UNFIT = int(np.iinfo(np.int64).max)
"""The price of an offer that does not suit."""
SHAPES_MAX = 512
TOUCHED_MAX = 1 << 16


@dataclass(slots=True, eq=False)
class Shape:
    """Requests that differ in whose they are alone.

    whole: what one node must have. lasting: which offers suit but for what of them is free. prices: by offer, what the
    request would pay there but for its bid. asking: the same where it suits now, and no more than the bid; UNFIT
    elsewhere. seen: how many of the touches are in it. facts: of which facts lasting is. cheapest: the offers that ask
    least, or within the tolerance of it; None: not known.
    need: what the packing makes of it, by which packing.
    """

    whole: Request
    lasting: Flags
    prices: Numbers
    asking: Numbers
    seen: int = 0
    facts: int = -1
    need: Need | None = None
    packing: object = None
    cheapest: Places | None = None


class Candidates:
    """What is told of a node is judged again only for shapes that are asked for after that."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._every = np.arange(len(books.snapshot.offers))
        self._shapes: dict[tuple[object, ...], Shape] = {}
        self._touched: list[int] = []
        self._freed = 0
        self._facts = 0

    def shape(self, key: tuple[object, ...], request: Request) -> Shape:
        """The shape of a request, as things stand now. key: shape_of(request)."""
        shape = self._shapes.pop(key, None)
        if shape is None:
            if len(self._shapes) >= SHAPES_MAX:
                del self._shapes[next(iter(self._shapes))]
            size, known = len(self._every), self._books.snapshot.price
            shape = Shape(request.together, np.empty(size, dtype=np.bool_), known, np.empty(size, dtype=np.int64))
        self._shapes[key] = shape
        if shape.facts != self._facts:
            self._judge(shape)
        elif shape.seen < len(self._touched):
            self._judge_again(shape)
        return shape

    def cheapest(self, shape: Shape) -> Places:
        """Where a shape asks least as things stand now, or within its tolerance of that; empty: it suits nowhere."""
        if shape.cheapest is None:
            least = int(shape.asking.min(initial=UNFIT))
            most = least + least * shape.whole.price_tolerance_milli // 1000 if least < UNFIT else -1
            shape.cheapest = (shape.asking <= most).nonzero()[0]
        return shape.cheapest

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

    def _judge(self, shape: Shape) -> None:
        stay = passing(self._books, shape.whole, self._every, LASTING_RULES)
        shape.lasting.fill(False)
        shape.lasting[stay] = True
        shape.prices = prices.paid(self._books.snapshot, shape.whole)
        shape.asking.fill(UNFIT)
        shape.cheapest = None
        shape.seen, shape.facts = len(self._touched), self._facts
        self._ask(shape, stay)

    def _judge_again(self, shape: Shape) -> None:
        touched = set(self._touched[shape.seen :])
        at = np.fromiter(touched, np.intp, len(touched))
        # Where nothing was freed since, an offer that did not suit does not suit now.
        at = at[shape.asking[at] < UNFIT] if shape.seen >= self._freed else at[shape.lasting[at]]
        drawn_alone, shape.seen = shape.seen >= self._freed, len(self._touched)
        if len(at):
            shape.asking[at] = UNFIT
            if self._ask(shape, at) < len(at) or not drawn_alone:
                shape.cheapest = None

    def _ask(self, shape: Shape, at: Places) -> int:
        """Judge whether it suits these offers now; returns how many of them it does."""
        suits = passing(self._books, shape.whole, at, ROOM_RULES)
        price = shape.prices[suits]
        shape.asking[suits] = np.minimum(price, shape.whole.bid) if shape.whole.spot else price
        return len(suits)
