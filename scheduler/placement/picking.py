"""Which of several offers: one that strands least, of a provider that the lot falls on, on its fullest node."""

import numpy as np
from numpy.typing import NDArray

from scheduler.placement.books import Books
from scheduler.placement.requests import Request
from scheduler.placement.shapes import Packing
from scheduler.placement.snapshot import Column, Places, key_of

PROVIDER = Column(True, lambda node: key_of(node.provider_id) - (1 << 63))


def pick(books: Books, packing: Packing | None, request: Request, equal: Places, seed: str) -> int:
    """One of these offers, which all may be had.

    Between providers equal in what it strands the round's seed and the job draw lots, so that nobody is always first;
    within a provider the fullest node that still fits is taken, so that large requests find whole nodes.
    """
    if packing is not None and len(equal) > 1:
        losses = packing.losses(request, equal)
        equal = equal[losses == losses.min()]
    if len(equal) > 1:
        lots = draw(books.snapshot.numbers(PROVIDER)[equal], seed, request.job_id)
        equal = equal[lots == lots.min()]
    node_of = books.snapshot.node_of
    for of_node, figure in (False, books.beside_gpus), (False, books.whole), (True, books.cpu), (True, books.memory):
        if len(equal) == 1:
            break
        left = figure[node_of[equal] if of_node else equal]
        equal = equal[left == left.min()]
    return int(equal[0])


def draw(keys: NDArray[np.int64], seed: str, job_id: str) -> NDArray[np.uint64]:
    """A number for each provider that only the seed and the job decide (the finalizer of splitmix64)."""
    mixed = keys.view(np.uint64) ^ np.uint64(key_of(f"{seed}|{job_id}"))
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
