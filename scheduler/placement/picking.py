"""Which of several offers: one that strands least, of a provider that the lot falls on, on its fullest node."""

import numpy as np
from numpy.typing import NDArray

from scheduler.placement.books import Books
from scheduler.placement.demand import Need
from scheduler.placement.shapes import Packing
from scheduler.placement.snapshot import Places, key_of


def pick(books: Books, packing: Packing | None, need: Need | None, equal: Places, job_id: str, seed: str) -> int:
    """One of these offers, which all may be had.

    Between providers equal in what it strands the round's seed and the job draw lots, so that nobody is always first;
    within a provider the fullest node that still fits is taken, so that large requests find whole nodes.
    """
    if packing is not None and need is not None:
        losses = packing.losses(need, equal)
        equal = equal[losses == np.minimum.reduce(losses)]
    if len(equal) > 1:
        code, keys = books.providers
        its = code[equal]
        equal = equal[its == its[draw(keys, seed, job_id)[its].argmin()]]
    node_of = books.snapshot.node_of
    for of_node, figure in (False, books.beside_gpus), (False, books.whole), (True, books.cpu), (True, books.memory):
        if len(equal) == 1:
            break
        left = figure[node_of[equal] if of_node else equal]
        equal = equal[left == np.minimum.reduce(left)]
    return int(equal[0])


def draw(keys: NDArray[np.int64], seed: str, job_id: str) -> NDArray[np.uint64]:
    """A number for each provider that only the seed and the job decide (the finalizer of splitmix64)."""
    mixed = keys.view(np.uint64) ^ np.uint64(key_of(f"{seed}|{job_id}"))
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
