"""Which of several offers: one that strands least, of a provider that the lot falls on, on its fullest node."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from scheduler.placement.books import Books
from scheduler.placement.demand import Need
from scheduler.placement.shapes import Packing
from scheduler.placement.snapshot import Places, key_of

LOTS_AT_ONCE = 1 << 15
_THIRTY, _TWENTY_SEVEN, _THIRTY_ONE = np.uint64(30), np.uint64(27), np.uint64(31)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


class Lots:
    """The lots of a round: what `draw` gives, for many of its jobs at once."""

    def __init__(self, books: Books, seed: str, job_ids: Sequence[str]) -> None:
        self._keys, self._seed, self._job_ids = books.providers[1], seed, job_ids
        self._place = {job_id: place for place, job_id in enumerate(job_ids)}
        self._drawn_from, self._drawn = 0, np.empty((0, len(self._keys)), dtype=np.uint64)

    def of(self, job_id: str) -> NDArray[np.uint64]:
        """A number for each provider."""
        place = self._place.get(job_id)
        if place is None:
            return draw(self._keys, self._seed, job_id)
        if not 0 <= place - self._drawn_from < len(self._drawn):
            jobs = self._job_ids[place : place + max(LOTS_AT_ONCE // max(len(self._keys), 1), 1)]
            own = np.array([key_of(f"{self._seed}|{one}") for one in jobs], dtype=np.uint64)
            self._drawn_from, self._drawn = place, _mixed(self._keys.view(np.uint64) ^ own[:, None])
        lots: NDArray[np.uint64] = self._drawn[place - self._drawn_from]
        return lots


def pick(books: Books, packing: Packing | None, need: Need | None, equal: Places, lots: Lots, job_id: str) -> int:
    """One of these offers, which all may be had.

    Between providers equal in what it strands the round's seed and the job draw lots, so that nobody is always first;
    within a provider the fullest node that still fits is taken, so that large requests find whole nodes.
    """
    if packing is not None and need is not None:
        losses = packing.losses(need, equal)
        equal = equal[losses == np.minimum.reduce(losses)]
    if len(equal) > 1:
        its = books.providers[0][equal]
        equal = equal[its == its[lots.of(job_id)[its].argmin()]]
    node_of = books.snapshot.node_of
    for of_node, figure in (False, books.beside_gpus), (False, books.whole), (True, books.cpu), (True, books.memory):
        if len(equal) == 1:
            break
        left = figure[node_of[equal] if of_node else equal]
        equal = equal[left == np.minimum.reduce(left)]
    return int(equal[0])


def draw(keys: NDArray[np.int64], seed: str, job_id: str) -> NDArray[np.uint64]:
    """A number for each provider that only the seed and the job decide (the finalizer of splitmix64)."""
    return _mixed(keys.view(np.uint64) ^ np.uint64(key_of(f"{seed}|{job_id}")))


def _mixed(mixed: NDArray[np.uint64]) -> NDArray[np.uint64]:
    mixed = (mixed ^ (mixed >> _THIRTY)) * _FIRST
    mixed = (mixed ^ (mixed >> _TWENTY_SEVEN)) * _SECOND
    return mixed ^ (mixed >> _THIRTY_ONE)
