"""The market's offers and requests in the shapes of the packer: an offer is a place, a card's model and size a kind."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from market.resources import Unit, gpu_matches
from scheduler.placement.books import Books
from scheduler.placement.demand import WHOLE, Demand, Need
from scheduler.placement.packing import Losses, Packer
from scheduler.placement.requests import Request, shape_of
from scheduler.placement.snapshot import Places


class Packing:
    """A packer over what the books say is free, by the positions of the offers. It is made when it is first asked: a
    round in which no two offers are equally cheap needs none."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._recent: tuple[Request, ...] = ()
        self._needs: tuple[Need, ...] = ()
        offers = books.snapshot.offers
        cards = [(offer.model, offer.memory_bytes, offer.mig) for offer in offers if offer.unit is Unit.GPU]
        self._cards = list(dict.fromkeys(cards))
        self._packer: Packer | None = None

    def judge_by(self, recent: Sequence[Request]) -> None:
        """Judge by these requests from now on, in whatever order."""
        given = tuple(recent)
        if given == self._recent:
            return
        self._recent = given
        shapes = {shape_of(request): request for request in given}
        need_of = {shape: replace(self.need_of(request), owner=0) for shape, request in shapes.items()}
        needs = tuple(sorted((need_of[shape_of(request)] for request in given), key=_order))
        if needs != self._needs:
            self._needs, self._packer = needs, None

    def losses(self, need: Need, places: Places) -> Losses:
        """What placing it at these offers strands, up to a constant."""
        return self._made().losses(need, places)

    def slots(self, offer: int, request: Request, need: Need) -> list[int]:
        """The slots of the offer that the request should get."""
        if request.gpu is None or request.gpu_milli == WHOLE:
            return self._books.slots(offer, request)
        return self._made().slots(offer, need)

    def take(self, offer: int, need: Need, slots: Sequence[int]) -> None:
        """Draw it from an offer, as the books do."""
        if self._packer is not None:
            self._packer.take(offer, need, slots)

    def put(self, node: int) -> None:
        """Follow what the books say of a node."""
        if self._packer is not None:
            books = self._books
            places = [(place, books.free[place], books.owner[place]) for place in books.offers_of[node]]
            self._packer.put(node, int(books.cpu[node]), int(books.memory[node]), places)

    def _made(self) -> Packer:
        if self._packer is None:
            books, offers = self._books, self._books.snapshot.offers
            kind_of = {card: kind for kind, card in enumerate(self._cards)}
            kinds = [kind_of[one.model, one.memory_bytes, one.mig] if one.unit is Unit.GPU else -1 for one in offers]
            supply = [0] * len(self._cards)
            for kind, offer in zip(kinds, offers, strict=True):
                if kind >= 0:
                    supply[kind] += offer.gpu_count
            self._packer = Packer(
                _demand(self._needs, tuple(supply)),
                books.snapshot.node_of,
                np.array(kinds, dtype=np.int64),
                books.free,
                books.cpu,
                books.memory,
                books.owner,
            )
        return self._packer

    def need_of(self, request: Request) -> Need:
        """What packing needs to know of a request."""
        gpu = request.gpu
        if gpu is None:
            return Need(0, 0, request.cpu_milli, request.memory_bytes)
        fits = [
            kind
            for kind, (model, memory, mig) in enumerate(self._cards)
            if mig == (gpu.mig or "") and gpu_matches(gpu, model, memory)
        ]
        owner = self._books.owner_of(request.shares_with)
        kinds = None if len(fits) == len(self._cards) else frozenset(fits)
        return Need(gpu.count, request.gpu_milli, request.cpu_milli, request.memory_bytes, kinds, owner)


@lru_cache(maxsize=4)
def _demand(needs: tuple[Need, ...], supply: tuple[int, ...]) -> Demand:
    """Between two rounds the recent requests are mostly the same ones."""
    return Demand(needs, supply)


def _order(need: Need) -> tuple[object, ...]:
    return need.gpus, need.gpu_milli, need.cpu_milli, need.memory, need.kinds is not None, sorted(need.kinds or ())
