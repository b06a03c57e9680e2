"""The market's offers and requests in the shapes of the packer: an offer is a place, a card's model and size a kind."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from market.resources import Unit, gpu_matches
from scheduler.placement.books import Books
from scheduler.placement.demand import WHOLE, Demand, Need
from scheduler.placement.packing import Losses, Packer
from scheduler.placement.requests import Request, shape_of
from scheduler.placement.snapshot import Places

NEEDS_MAX = 4096


class Packing:
    """A packer over what the books say is free, by the positions of the offers. It is made when it is first asked: a
    round in which no two offers are equally cheap needs none."""

    def __init__(self, books: Books, recent: Sequence[Request]) -> None:
        self._books = books
        self.recent = recent
        offers = books.snapshot.offers
        cards = [(offer.model, offer.memory_bytes) for offer in offers if offer.unit is Unit.GPU]
        self._cards = list(dict.fromkeys(cards))
        self._needs: dict[object, Need] = {}
        self._packer: Packer | None = None

    def losses(self, request: Request, places: Places) -> Losses:
        """What placing the request at these offers strands, up to a constant."""
        return self._made().losses(self._need(request), places)

    def slots(self, offer: int, request: Request) -> list[int]:
        """The slots of the offer that the request should get."""
        if request.gpu is None or request.gpu_milli == WHOLE:
            return self._books.slots(offer, request)
        return self._made().slots(offer, self._need(request))

    def take(self, offer: int, request: Request, slots: Sequence[int]) -> None:
        """Draw a request from an offer, as the books do."""
        if self._packer is not None:
            self._packer.take(offer, self._need(request), slots)

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
            kinds = [kind_of[one.model, one.memory_bytes] if one.unit is Unit.GPU else -1 for one in offers]
            supply = [0] * len(self._cards)
            for kind, offer in zip(kinds, offers, strict=True):
                supply[kind] += offer.gpu_count if kind >= 0 else 0
            recent = sorted((self._need(request, nobodys=True) for request in self.recent), key=_order)
            self._packer = Packer(
                _demand(tuple(recent), tuple(supply)),
                books.snapshot.node_of,
                np.array(kinds, dtype=np.int64),
                books.free,
                books.cpu,
                books.memory,
                books.owner,
            )
        return self._packer

    def _need(self, request: Request, nobodys: bool = False) -> Need:
        key = nobodys, shape_of(request)
        need = self._needs.get(key)
        if need is None:
            if len(self._needs) >= NEEDS_MAX:
                self._needs.clear()
            owner = 0 if nobodys else self._books.owner_of(request.shares_with)
            need = self._needs[key] = self._need_of(request, owner)
        return need

    def _need_of(self, request: Request, owner: int) -> Need:
        gpu = request.gpu
        if gpu is None:
            return Need(0, 0, request.cpu_milli, request.memory_bytes)
        fits = [kind for kind, (model, memory) in enumerate(self._cards) if gpu_matches(gpu, model, memory)]
        kinds = None if len(fits) == len(self._cards) else frozenset(fits)
        return Need(gpu.count, request.gpu_milli, request.cpu_milli, request.memory_bytes, kinds, owner)


@lru_cache(maxsize=4)
def _demand(needs: tuple[Need, ...], supply: tuple[int, ...]) -> Demand:
    """Between two rounds the recent requests are mostly the same ones."""
    return Demand(needs, supply)


def _order(need: Need) -> tuple[object, ...]:
    return need.gpus, need.gpu_milli, need.cpu_milli, need.memory, need.kinds is not None, sorted(need.kinds or ())
