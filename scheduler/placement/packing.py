"""How much a placement would strand: free capacity by place, its worth, and the loss each placement would be."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from scheduler.placement.demand import LEVELS, STEP, WHOLE, Demand, Floats, Ints, Need

NEVER = np.iinfo(np.int32).max
"""The loss where a request does not fit."""
KEPT_MAX = 512
TOUCHED_MAX = 1 << 16

Places = NDArray[np.intp]
Flags = NDArray[np.bool_]
Losses = NDArray[np.int32]


@dataclass(slots=True)
class _Row:
    """What one request would strand, by place, and the slot of each place in which it strands least (a shared GPU
    alone). seen: how many of the touches are in it. within: what a shared GPU's worth changes by, by price and level.
    """

    loss: Losses
    slot: Places
    kinds: Flags
    cost: Floats
    within: Floats
    seen: int = 0


class Packer:
    """Free capacity in places (GPU slots of one kind on one node) whose nodes share CPU and memory.

    node_of[place]; kind[place] (-1: a place without GPUs); free[place, slot] in thousandths, slots that do not exist 0;
    cpu[node] in milli-CPU; memory[node] in the unit of the needs. What a request would strand is kept by place and
    request, and computed again only for places touched since that request last came.
    """

    def __init__(self, demand: Demand, node_of: Ints, kind: Ints, free: Ints, cpu: Ints, memory: Ints) -> None:
        self.node_of = np.array(node_of, dtype=np.intp)
        self.free = np.array(free, dtype=np.int64)
        self.cpu = np.array(cpu, dtype=np.int64)
        self.memory = np.array(memory, dtype=np.int64)
        self.idle = np.bincount(self.node_of, self.free.sum(axis=1), len(self.cpu)).astype(np.int64)
        # The last kind is worth nothing: that of places without GPUs.
        nothing = np.zeros((len(demand.cpu_price), 1, LEVELS))
        self._worth = np.concatenate([demand.worth, nothing], axis=1)
        self._worth_at = self._worth.reshape(len(nothing), -1)
        self._named = np.append(demand.named, 0.0)
        self._kind = np.where(np.asarray(kind) < 0, len(demand.named), kind).astype(np.intp)
        self._prices = np.stack([demand.cpu_price, demand.memory_price])
        # Where in _worth_at a slot's worth stands.
        self._at = self._kind[:, None] * LEVELS + self.free // STEP
        self._places_of = _grouped(self.node_of, len(self.cpu))
        self._bound = np.outer(self._prices[0], self.cpu) + np.outer(self._prices[1], self.memory)
        by_place = self._worth_at.take(self._at, axis=1).sum(axis=2)
        self._bound += np.array([np.bincount(self.node_of, worth, len(self.cpu)) for worth in by_place])
        self._value = self._bound.min(axis=0)
        self._touched: list[int] = []
        self._rows: dict[Need, _Row] = {}

    def losses(self, need: Need) -> Losses:
        """By place: what placing the request there strands, in STEPs and up to a constant; NEVER where it does not fit.

        The array is the packer's own: read it before the next call, never write to it.
        """
        return self._row(need).loss

    def best(self, need: Need) -> int | None:
        """The place where the request strands least; among equals the node with least idle, then the first. Where
        all capacity is one owner's there is nobody to be fair to. None: it fits nowhere."""
        losses = self._row(need).loss
        least = losses.min(initial=NEVER)
        if least == NEVER:
            return None
        equal = (losses == least).nonzero()[0]
        return int(equal[self.idle[self.node_of[equal]].argmin()])

    def slots(self, place: int, need: Need) -> list[int]:
        """The slots of the place that the request would get: the first free ones, or the one it strands least in."""
        if need.gpus and need.gpu_milli < WHOLE:
            return [int(self._row(need).slot[place])]
        found: list[int] = (self.free[place] == WHOLE).nonzero()[0][: need.gpus].tolist()
        return found

    def take(self, place: int, need: Need, slots: Sequence[int]) -> None:
        """Draw the request from these slots. Raises ValueError where it does not fit: nothing is promised twice."""
        node = self.node_of[place]
        if self.cpu[node] < need.cpu_milli or self.memory[node] < need.memory:
            raise ValueError("not so much CPU or memory is free")
        if len(set(slots)) != need.gpus or (slots and self.free[place, slots].min() < need.gpu_milli):
            raise ValueError("these GPUs are not free")
        self._change(place, need, slots, -1)

    def give(self, place: int, need: Need, slots: Sequence[int]) -> None:
        """Put back what take drew."""
        if len(set(slots)) != need.gpus or (slots and self.free[place, slots].max() + need.gpu_milli > WHOLE):
            raise ValueError("these GPUs were not taken")
        self._change(place, need, slots, 1)

    def _change(self, place: int, need: Need, slots: Sequence[int], sign: int) -> None:
        node = int(self.node_of[place])
        self.cpu[node] += sign * need.cpu_milli
        self.memory[node] += sign * need.memory
        if slots:
            self.free[place, slots] += sign * need.gpu_milli
            self.idle[node] += sign * need.gpu_milli * len(slots)
            self._at[place] = self._kind[place] * LEVELS + self.free[place] // STEP
        self._appraise(node)
        if len(self._touched) >= TOUCHED_MAX:
            self._touched.clear()
            self._rows.clear()
        self._touched.extend(self._places_of[node])

    def _appraise(self, node: int) -> None:
        """What the node can still serve: the least of its bounds, one for each price of CPU and memory."""
        bound = self._worth_at.take(self._at[self._places_of[node]].ravel(), axis=1).sum(axis=1)
        bound += self._prices[0] * self.cpu[node] + self._prices[1] * self.memory[node]
        self._bound[:, node] = bound
        self._value[node] = bound.min()

    def _row(self, need: Need) -> _Row:
        row = self._rows.pop(need, None)
        if row is None:
            row = self._new(need)
            self._evaluate(need, row, np.arange(len(self._kind)))
            if len(self._rows) >= KEPT_MAX:
                del self._rows[next(iter(self._rows))]
        elif row.seen < len(self._touched):
            self._evaluate(need, row, np.fromiter(set(self._touched[row.seen :]), dtype=np.intp))
        row.seen = len(self._touched)
        self._rows[need] = row
        return row

    def _new(self, need: Need) -> _Row:
        kinds = np.array([need.gpus == 0 or need.accepts(kind) for kind in range(len(self._named))], dtype=np.bool_)
        kinds[-1] = need.gpus == 0
        cost = self._prices[0] * need.cpu_milli + self._prices[1] * need.memory
        less = np.maximum(np.arange(LEVELS) + -need.gpu_milli // STEP, 0)
        within = (self._worth[:, :, less] - self._worth).reshape(len(cost), -1)
        size = len(self._kind)
        return _Row(np.empty(size, dtype=np.int32), np.zeros(size, dtype=np.intp), kinds, cost[:, None], within)

    def _evaluate(self, need: Need, row: _Row, places: Places) -> None:
        nodes, kinds = self.node_of[places], self._kind[places]
        fits = (self.cpu[nodes] >= need.cpu_milli) & (self.memory[nodes] >= need.memory) & row.kinds[kinds]
        rest = self._bound.take(nodes, axis=1) - row.cost
        if need.gpus and need.gpu_milli < WHOLE:
            change = row.within.take(self._at[places], axis=1)
            change += rest[:, :, None]
            by_slot = np.where(self.free[places] >= need.gpu_milli, change.min(axis=0), -np.inf)
            row.slot[places] = by_slot.argmax(axis=1)
            left = by_slot.max(axis=1)
            fits &= left > -np.inf
        else:
            if need.gpus:
                fits &= (self.free[places] == WHOLE).sum(axis=1) >= need.gpus
                rest -= need.gpus * self._worth[:, kinds, -1]
            left = rest.min(axis=0)
        lost = self._value[nodes] - left + self._named[kinds] * (need.gpus * need.gpu_milli)
        row.loss[places] = np.where(fits, np.rint(lost / STEP), NEVER)


def _grouped(group: Places, count: int) -> list[Places]:
    """The positions of each group's members."""
    order = np.argsort(group, kind="stable")
    bounds = np.searchsorted(group[order], np.arange(count + 1))
    return [order[low:high] for low, high in pairwise(bounds.tolist())]
