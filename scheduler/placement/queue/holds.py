"""Places that are held for a request until it fits: nobody else is given what is free there, or becomes free."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from scheduler.placement import prices
from scheduler.placement.books import Books
from scheduler.placement.requests import WHOLE_MILLI, Request
from scheduler.placement.snapshot import Flags

UntilFree = Callable[[str, int], int]
"""By a node's id and a number of its GPUs, a measure of how long these are still taken."""


class Holds:
    """What is set aside in one round. touched: is told of every node where something is taken or given back."""

    def __init__(self, books: Books, touched: Callable[[int], None], until_free: UntilFree) -> None:
        self._books, self._touched, self._until_free = books, touched, until_free
        self._number = {node.node_id: index for index, node in enumerate(books.snapshot.nodes)}
        self._aside: dict[str, list[Held]] = {}

    def keep(self, job_id: str, request: Request, nodes: Sequence[str], lasting: Flags) -> bool:
        """Set aside on the nodes that are held already; False where they will not do any more, all of them."""
        there = [self._number[node_id] for node_id in nodes if node_id in self._number]
        offers = _places_on(self._books, there, lasting)
        if len(offers) < request.members:
            return False
        self._set_aside(job_id, request, offers)
        return True

    def make(self, job_id: str, request: Request, lasting: Flags) -> tuple[str, ...]:
        """Set aside where it is likely to fit first; the nodes, none where it can be had nowhere."""
        node_of, nodes = self._books.snapshot.node_of, self._books.snapshot.nodes
        taken = {int(node_of[held.offer]) for several in self._aside.values() for held in several}
        offers = choose_places(self._books, request, lasting, taken, self._until_free)
        self._set_aside(job_id, request, offers)
        return tuple(nodes[int(node_of[offer])].node_id for offer in offers)

    def release(self, job_id: str) -> bool:
        """Give back what is held for a job; whether anything was."""
        held = self._aside.pop(job_id, None)
        for one in held or ():
            _move(self._books, one, 1)
            self._touched(int(self._books.snapshot.node_of[one.offer]))
        return held is not None

    def release_all(self) -> None:
        """Give back what is held for anybody."""
        for job_id in list(self._aside):
            self.release(job_id)

    def _set_aside(self, job_id: str, request: Request, offers: Sequence[int]) -> None:
        if offers:
            self._aside[job_id] = [_free_of(self._books, request, offer) for offer in offers]
        for one in self._aside.get(job_id, ()):
            _move(self._books, one, -1)
            self._touched(int(self._books.snapshot.node_of[one.offer]))


@dataclass(frozen=True, slots=True)
class Held:
    """What of an offer and its node was set aside."""

    offer: int
    slots: tuple[int, ...]
    cpu_milli: int
    memory_bytes: int
    disk_bytes: int


def choose_places(
    books: Books, request: Request, lasting: Flags, taken: Collection[int], until_free: UntilFree
) -> list[int]:
    """The offers where a request is likely to fit first, each on a node of its own, a gang's in one pool; empty where
    there are none. request: what one node must have. lasting: which offers would do if they were free. taken: nodes
    where something is held already."""
    if request.gpu is None or request.gpu_milli != WHOLE_MILLI:
        return []
    snapshot = books.snapshot
    at = np.flatnonzero(lasting)
    at = at[~np.isin(snapshot.node_of[at], np.fromiter(taken, np.intp, len(taken)))]
    node, pool = snapshot.node_of[at], books.providers[0][at]
    lacking = np.maximum(request.gpu.count - books.whole[at], 0).tolist()
    waits = (until_free(snapshot.nodes[one].node_id, gpus) for one, gpus in zip(node.tolist(), lacking, strict=True))
    taken_for = np.fromiter(waits, np.int64, len(at))
    short = (books.cpu[node] < request.cpu_milli) + (books.memory[node] < request.memory_bytes).astype(np.int64)
    order = np.lexsort((prices.asked(snapshot, request, at), short, taken_for, pool))
    _, first = np.unique(node[order], return_index=True)
    order = order[np.sort(first)]
    _, starts, counts = np.unique(pool[order], return_index=True, return_counts=True)
    gangs = [
        order[start : start + request.members]
        for start, count in zip(starts.tolist(), counts.tolist(), strict=True)
        if count >= request.members
    ]
    if not gangs:
        return []
    best = min(gangs, key=lambda gang: (int(taken_for[gang].sum()), int(short[gang].sum()), int(at[gang[0]])))
    chosen: list[int] = at[best].tolist()
    return chosen


def _places_on(books: Books, nodes: Sequence[int], lasting: Flags) -> list[int]:
    """Its offers on these nodes, as far as they still would do."""
    found = ([offer for offer in books.offers_of[node] if lasting[offer]] for node in nodes)
    return [min(offers, key=lambda offer: (-int(books.whole[offer]), offer)) for offers in found if offers]


def _free_of(books: Books, request: Request, offer: int) -> Held:
    """What is free there of what the request will need."""
    node = int(books.snapshot.node_of[offer])
    count = request.gpu.count if request.gpu else 0
    free: list[int] = books.free[offer].tolist()
    slots = tuple(slot for slot, milli in enumerate(free) if milli == WHOLE_MILLI)[:count]
    return Held(
        offer,
        slots,
        max(min(request.cpu_milli, int(books.cpu[node])), 0),
        max(min(request.memory_bytes, int(books.memory[node])), 0),
        max(min(request.disk_bytes, int(books.disk[node])), 0),
    )


def _move(books: Books, held: Held, sign: int) -> None:
    node = int(books.snapshot.node_of[held.offer])
    books.cpu[node] += sign * held.cpu_milli
    books.memory[node] += sign * held.memory_bytes
    books.disk[node] += sign * held.disk_bytes
    for slot in held.slots:
        books.free[held.offer, slot] += sign * WHOLE_MILLI
    books.whole[held.offer] += sign * len(held.slots)
