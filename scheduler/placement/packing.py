"""How much a placement would strand: free capacity by place, its worth, and the loss each placement would be."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from scheduler.placement.demand import LEVELS, STEP, WHOLE, Demand, Floats, Ints, Need

NEVER = np.iinfo(np.int32).max
"""The loss where a request does not fit."""
KEPT_MAX = 512
"""Requests whose losses are kept."""
TOUCHED_MAX = 1 << 16
"""Changes that kept losses may lag behind before all are computed anew."""
FEW = 4
"""So few places are evaluated one by one."""
_IDLE_BITS = 20
_IDLE_MAX = (1 << _IDLE_BITS) - 1
_NEVER_KEY = NEVER << _IDLE_BITS

Places = NDArray[np.intp]
Losses = NDArray[np.int64]


@dataclass(slots=True)
class _Row:
    """What one request would strand, by place, and the slot of each place in which it strands least (a shared GPU
    alone). key: the loss, and below it what its node has idle. kinds: which do. cost: by kind and price, what the
    request takes of a bound beside a share's slot. within: what that slot's worth changes by, by level and price.
    seen: how many of the touches are in it.
    """

    key: Ints
    slot: Ints
    kinds: list[bool]
    cost: Floats
    within: Floats
    seen: int = 0


class Packer:
    """Free capacity in places (GPU slots of one kind on one node) whose nodes share CPU and memory.

    node_of[place]; kind[place] (-1: a place without GPUs); free[place, slot] in thousandths, slots that do not exist 0;
    cpu[node] in milli-CPU; memory[node] in the unit of the needs; owner[place, slot], 0 (of all without it) is nobody.
    What a request would strand is kept by place and request, and computed again only for places that were touched
    since that request last came and that it fits. What is kept is a matter of speed: no answer depends on it.
    """

    def __init__(
        self, demand: Demand, node_of: Ints, kind: Ints, free: Ints, cpu: Ints, memory: Ints, owner: Ints | None = None
    ) -> None:
        self.node_of = np.array(node_of, dtype=np.intp)
        self.free = np.array(free, dtype=np.int64)
        self.cpu = np.array(cpu, dtype=np.int64)
        self.memory = np.array(memory, dtype=np.int64)
        self.owner = np.zeros_like(self.free) if owner is None else np.array(owner, dtype=np.int64)
        self.idle = np.bincount(self.node_of, self.free.sum(axis=1), len(self.cpu)).astype(np.int64)
        self._kind = np.where(np.asarray(kind) < 0, len(demand.named), kind).astype(np.intp)
        # The last kind is worth nothing: that of places without GPUs. [kind and level, price]
        nothing = np.zeros((len(demand.cpu_price), 1, LEVELS))
        self._kinds = len(demand.named) + 1
        self._worth = np.concatenate([demand.worth, nothing], axis=1).transpose(1, 2, 0).reshape(-1, len(nothing))
        self._worth = np.ascontiguousarray(self._worth)
        self._named = np.append(demand.named, 0.0)
        self._cpu_price, self._memory_price = demand.cpu_price, demand.memory_price
        # Where in _worth a slot's worth stands.
        self._at = self._kind[:, None] * LEVELS + self.free // STEP
        self._places_of = [places.tolist() for places in _grouped(self.node_of, len(self.cpu))]
        self._gpus_worth = np.zeros((len(self.cpu), len(nothing)))
        for slot in range(self.free.shape[1]):
            # Worths are exact in a float: the order of the sum does not matter.
            np.add.at(self._gpus_worth, self.node_of, self._worth.take(self._at[:, slot], axis=0))
        self._bound = self.cpu[:, None] * self._cpu_price + self.memory[:, None] * self._memory_price
        self._bound += self._gpus_worth
        self._value = self._bound.min(axis=1)
        # What is asked of one place at a time, as Python's own integers: several times faster than an array's.
        self._node: list[int] = self.node_of.tolist()
        self._card: list[int] = self._kind.tolist()
        self._cpu: list[int] = self.cpu.tolist()
        self._memory: list[int] = self.memory.tolist()
        self._whole: list[int] = (self.free == WHOLE).sum(axis=1).tolist()
        self._most: list[int] = self.free.max(axis=1, initial=0).tolist()
        self._touched: list[int] = []
        self._rows: dict[Need, _Row] = {}

    def losses(self, need: Need, places: Places | None = None) -> Losses:
        """What placing the request at these places (all without them) strands, in STEPs and up to a constant; NEVER
        where it does not fit."""
        key = self._row(need).key
        return (key if places is None else key[places]) >> _IDLE_BITS

    def best(self, need: Need) -> int | None:
        """The place where the request strands least; among equals the node with least idle, then the first. Where
        all capacity is one owner's there is nobody to be fair to. None: it fits nowhere."""
        key = self._row(need).key
        place = int(key.argmin()) if len(key) else 0
        return place if len(key) and key[place] < _NEVER_KEY else None

    def slots(self, place: int, need: Need) -> list[int]:
        """The slots of the place that the request would get: the first free ones, or the one it strands least in."""
        if need.gpus and need.gpu_milli < WHOLE:
            return [int(self._row(need).slot[place])]
        free: list[int] = self.free[place].tolist()
        return [slot for slot, milli in enumerate(free) if milli == WHOLE][: need.gpus]

    def take(self, place: int, need: Need, slots: Sequence[int]) -> None:
        """Draw the request from these slots. Raises ValueError where it does not fit: nothing is promised twice."""
        node = self._node[place]
        if self._cpu[node] < need.cpu_milli or self._memory[node] < need.memory:
            raise ValueError("not so much CPU or memory is free")
        if len(set(slots)) != need.gpus or any(not self._admits(place, slot, need) for slot in slots):
            raise ValueError("these GPUs are not free")
        self._change(place, need, slots, -1)

    def give(self, place: int, need: Need, slots: Sequence[int]) -> None:
        """Put back what take drew."""
        free = self.free[place]
        if len(set(slots)) != need.gpus or any(free[slot] + need.gpu_milli > WHOLE for slot in slots):
            raise ValueError("these GPUs were not taken")
        self._change(place, need, slots, 1)

    def put(self, node: int, cpu_milli: int, memory: int, free: Iterable[tuple[int, Ints, Ints]]) -> None:
        """What of a node is free now: its places, each with its slots' free thousandths and owners."""
        self._cpu[node], self._memory[node] = cpu_milli, memory
        for place, slots, owners in free:
            self.free[place], self.owner[place] = slots, owners
            self._at[place] = self._kind[place] * LEVELS + slots // STEP
            self._whole[place], self._most[place] = int((slots == WHOLE).sum()), int(slots.max(initial=0))
        places = self._places_of[node]
        self.idle[node] = self.free[places].sum()
        self._gpus_worth[node] = self._worth[self._at[places].ravel()].sum(axis=0)
        self._appraise(node)

    def _admits(self, place: int, slot: int, need: Need) -> bool:
        owner = self.owner[place, slot]
        return bool(self.free[place, slot] >= need.gpu_milli and owner in (0, need.owner))

    def _change(self, place: int, need: Need, slots: Sequence[int], sign: int) -> None:
        node = self._node[place]
        self._cpu[node] += sign * need.cpu_milli
        self._memory[node] += sign * need.memory
        if slots:
            change, base = sign * need.gpu_milli, self._card[place] * LEVELS
            worth = self._gpus_worth[node]
            for slot in slots:
                left = int(self.free[place, slot]) + change
                self.free[place, slot] = left
                self.owner[place, slot] = 0 if left == WHOLE else need.owner or self.owner[place, slot]
                at = base + left // STEP
                worth += self._worth[at]
                worth -= self._worth[self._at[place, slot]]
                self._at[place, slot] = at
            self.idle[node] += change * len(slots)
            row = self.free[place].tolist()
            self._whole[place], self._most[place] = row.count(WHOLE), max(row)
        self._appraise(node)

    def _appraise(self, node: int) -> None:
        """What the node can still serve: the least of its bounds, one for each price of CPU and memory."""
        cpu, memory = self._cpu[node], self._memory[node]
        self.cpu[node], self.memory[node] = cpu, memory
        bound = self._bound[node]
        np.multiply(self._cpu_price, cpu, out=bound)
        bound += self._memory_price * memory
        bound += self._gpus_worth[node]
        self._value[node] = np.minimum.reduce(bound)
        if len(self._touched) >= TOUCHED_MAX:
            self._touched.clear()
            self._rows.clear()
        self._touched.extend(self._places_of[node])

    def _row(self, need: Need) -> _Row:
        row = self._rows.pop(need, None)
        if row is None:
            row = self._new(need)
            self._evaluate(need, row, self._fitting(need, row, range(len(self._kind))))
            if len(self._rows) >= KEPT_MAX:
                del self._rows[next(iter(self._rows))]
        elif row.seen < len(self._touched):
            touched = set(self._touched[row.seen :])
            fitting = self._fitting(need, row, touched)
            if len(fitting) < len(touched):
                row.key[list(touched)] = _NEVER_KEY
            self._evaluate(need, row, fitting)
        row.seen = len(self._touched)
        self._rows[need] = row
        return row

    def _new(self, need: Need) -> _Row:
        kinds = [need.gpus == 0 or need.accepts(kind) for kind in range(self._kinds)]
        kinds[-1] = need.gpus == 0
        cost = self._cpu_price * need.cpu_milli + self._memory_price * need.memory
        cost = cost + (self._named * (need.gpus * need.gpu_milli))[:, None]
        worth = self._worth.reshape(self._kinds, LEVELS, -1)
        within = worth[:0, 0]
        if need.gpus and need.gpu_milli < WHOLE:
            less = np.maximum(np.arange(LEVELS) + -need.gpu_milli // STEP, 0)
            within = (worth[:, less] - worth).reshape(self._worth.shape)
        else:
            cost += need.gpus * worth[:, -1]
        size = len(self._kind)
        return _Row(np.full(size, _NEVER_KEY), np.zeros(size, dtype=np.int16), kinds, cost, within)

    def _fitting(self, need: Need, row: _Row, places: Iterable[int]) -> list[int]:
        """Of these places those with room (a share may still find only slots of other owners)."""
        node_of, card, kinds, cpu, memory = self._node, self._card, row.kinds, self._cpu, self._memory
        cpu_milli, memory_least = need.cpu_milli, need.memory
        if need.gpus and need.gpu_milli < WHOLE:
            room, least = self._most, need.gpu_milli
        else:
            room, least = self._whole, need.gpus
        return [
            place
            for place in places
            if room[place] >= least
            and cpu[node := node_of[place]] >= cpu_milli
            and memory[node] >= memory_least
            and kinds[card[place]]
        ]

    def _evaluate(self, need: Need, row: _Row, fitting: list[int]) -> None:
        if not fitting:
            return
        if len(fitting) <= FEW and not (need.gpus and need.gpu_milli < WHOLE):
            # What follows comes to the same: an array costs as much for one place as for hundreds.
            for place in fitting:
                node = self._node[place]
                left = np.minimum.reduce(self._bound[node] - row.cost[self._card[place]])
                lost = min(float(self._value[node] - left) / STEP, NEVER)
                row.key[place] = min(round(lost) << _IDLE_BITS | min(int(self.idle[node]), _IDLE_MAX), _NEVER_KEY)
            return
        places = np.array(fitting, dtype=np.intp)
        nodes = self.node_of.take(places)
        rest = self._bound.take(nodes, axis=0)
        rest -= row.cost.take(self._kind.take(places), axis=0)
        if need.gpus and need.gpu_milli < WHOLE:
            change = row.within.take(self._at.take(places, axis=0), axis=0)
            change += rest[:, None, :]
            admits = self.free.take(places, axis=0) >= need.gpu_milli
            owner = self.owner.take(places, axis=0)
            admits &= (owner == 0) | (owner == need.owner)
            by_slot = np.where(admits, np.minimum.reduce(change, axis=2), -np.inf)
            row.slot[places] = by_slot.argmax(axis=1)
            left = np.maximum.reduce(by_slot, axis=1)
        else:
            left = np.minimum.reduce(rest, axis=1)
        lost = np.minimum((self._value.take(nodes) - left) / STEP, NEVER)
        key = np.rint(lost).astype(np.int64) << _IDLE_BITS
        key |= np.minimum(self.idle.take(nodes), _IDLE_MAX)
        row.key[places] = np.minimum(key, _NEVER_KEY)


def _grouped(group: Places, count: int) -> list[Places]:
    """The positions of each group's members."""
    order = np.argsort(group, kind="stable")
    bounds = np.searchsorted(group[order], np.arange(count + 1))
    return [order[low:high] for low, high in pairwise(bounds.tolist())]
