"""The market's offers and requests in the shapes of the packer: an offer is a place, a card's model and size a kind."""

from collections.abc import Sequence

import numpy as np

from market.resources import Unit, gpu_matches
from scheduler.placement.demand import WHOLE, Demand, Need
from scheduler.placement.packing import Losses, Packer
from scheduler.placement.snapshot import Books, Request


class Packing:
    """A packer over what the books say is free, by the positions of the offers. GPUs are whole: how many are free is
    all it holds. It is made when it is first asked: a round in which no two offers are equally cheap needs none."""

    def __init__(self, books: Books, recent: Sequence[Request]) -> None:
        self._books = books
        self._recent = recent
        cards = [(offer.model, offer.memory_bytes) for offer in books.snapshot.offers if offer.unit is Unit.GPU]
        self._cards = list(dict.fromkeys(cards))
        self._needs: dict[Request, Need] = {}
        self._packer: Packer | None = None

    def losses(self, request: Request) -> Losses:
        """By offer: what placing the request there strands, up to a constant."""
        if self._packer is None:
            self._packer = self._made()
        return self._packer.losses(self._need(request))

    def take(self, offer: int, request: Request) -> None:
        """Draw a request from an offer, as the books do."""
        if self._packer is not None:
            need = self._need(request)
            self._packer.take(offer, need, self._packer.slots(offer, need))

    def _made(self) -> Packer:
        books, offers = self._books, self._books.snapshot.offers
        kind_of = {card: kind for kind, card in enumerate(self._cards)}
        kind = np.array(
            [kind_of[offer.model, offer.memory_bytes] if offer.unit is Unit.GPU else -1 for offer in offers],
            dtype=np.int64,
        )
        free = WHOLE * (np.arange(books.gpus.max(initial=0)) < books.gpus[:, None])
        supply = np.bincount(kind + 1, books.snapshot.gpu_count, len(self._cards) + 1)[1:]
        demand = Demand([self._need(request) for request in self._recent], supply.astype(np.int64).tolist())
        return Packer(demand, books.snapshot.node_of, kind, free, books.node_cpu, books.node_memory)

    def _need(self, request: Request) -> Need:
        shape = request.shape
        need = self._needs.get(shape)
        if need is None:
            need = self._needs[shape] = self._need_of(shape)
        return need

    def _need_of(self, request: Request) -> Need:
        gpu = request.gpu
        if gpu is None:
            return Need(0, 0, request.cpu_milli, request.memory_bytes)
        fits = [kind for kind, (model, memory) in enumerate(self._cards) if gpu_matches(gpu, model, memory)]
        kinds = None if len(fits) == len(self._cards) else frozenset(fits)
        return Need(gpu.count, WHOLE, request.cpu_milli, request.memory_bytes, kinds)
