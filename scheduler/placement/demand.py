"""What free GPUs are worth to requests like the recent ones: the measure of fragmentation.

A GPU slot with a free part is worth what the best choice among a few of the next requests could use of it; nobody
knows them, so it is the mean over samples drawn from the recent ones. Requests also cost CPU and memory of the node:
the worth is kept for several prices of these, and the price that says least is the true one (a Lagrangian bound on
what the node can still serve). So GPUs stranded without CPU or memory count as lost without a rule of their own.
docs/placement.md has the method, docs/placement-figures.md its figures and what did not help.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WHOLE = 1000
"""Thousandths of a GPU in one that nobody shares."""
STEP = 10
"""The resolution of worth, and what counts as equal, in thousandths of a GPU."""
LEVELS = WHOLE // STEP + 1
SAMPLE = 24
"""Requests that compete for one free slot. More say that something fitting always comes, fewer that nothing does."""
SAMPLES = 64
"""How many samples the mean is over."""
QUANTILES = (0.1, 0.5, 0.9)
"""At which CPU and memory a GPU, of those the recent requests bring, the prices of CPU and memory are tried."""
NAMED = 0.1
"""How much of a GPU's worth is added when all of its kind would be asked for by name."""
_DRAW = 0

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Need:
    """What packing needs to know of a request: equal ones fit the same places.

    gpus: slots of one place, 0 for CPU work. gpu_milli: thousandths of each; only one slot is ever shared. memory: in
    any unit, the same everywhere. kinds: the GPU kinds that will do, None for any. owner: whose begun slots it may
    share besides nobody's (0: those alone).
    """

    gpus: int
    gpu_milli: int
    cpu_milli: int
    memory: int
    kinds: frozenset[int] | None = None
    owner: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.gpu_milli <= WHOLE or (self.gpus > 1 and self.gpu_milli != WHOLE):
            raise ValueError(f"{self.gpus} GPUs of {self.gpu_milli}: several are whole, one is at most {WHOLE}")

    def accepts(self, kind: int) -> bool:
        """Whether a GPU of that kind will do."""
        return self.kinds is None or kind in self.kinds


class Demand:
    """The worth of free capacity to requests like the recent ones. Pure: the same requests give the same figures.

    recent: what was asked for lately, the CPU work among it is passed over. supply: how many GPUs of each kind there
    are. Tables: worth[price, kind, level] in thousandths of a GPU, level being the free part of a slot in STEPs;
    cpu_price and memory_price, aligned to price, per milli-CPU and per unit of memory; named[kind], what a kind's GPUs
    are worth beyond that because some requests take no other (0 .. NAMED).
    """

    def __init__(self, recent: Sequence[Need], supply: Sequence[int]) -> None:
        needs = [need for need in recent if need.gpus and need.gpu_milli]
        kinds = len(supply)
        slots = np.array([need.gpus for need in needs], dtype=np.float64)
        cpu = np.array([need.cpu_milli for need in needs], dtype=np.float64) / slots
        memory = np.array([need.memory for need in needs], dtype=np.float64) / slots
        size = np.array([need.gpu_milli for need in needs], dtype=np.int64)
        accepts = np.array([[need.accepts(kind) for need in needs] for kind in range(kinds)], dtype=np.bool_)
        cpu_prices, memory_prices = _prices(cpu, size), _prices(memory, size)
        self.cpu_price = np.repeat(cpu_prices, len(memory_prices))
        self.memory_price = np.tile(memory_prices, len(cpu_prices))
        net = size - np.outer(self.cpu_price, cpu) - np.outer(self.memory_price, memory)
        self.worth = np.zeros((len(self.cpu_price), kinds, LEVELS))
        known: dict[bytes, Floats] = {}
        for kind in range(kinds if needs else 0):
            whom = accepts[kind].tobytes()
            if whom not in known:
                known[whom] = _worth(-(-size // STEP), np.where(accepts[kind], net, -1.0))
            self.worth[:, kind] = known[whom]
        self.named = _named(needs, supply)


def _prices(amount: Floats, size: Ints) -> Floats:
    """Free, and the prices at which a GPU pays for as much as few, half and most of the requests bring a GPU."""
    a_gpu = amount[amount > 0] * WHOLE / size[amount > 0]
    return np.unique(np.append(0.0, WHOLE / np.quantile(a_gpu, QUANTILES))) if len(a_gpu) else np.zeros(1)


def _worth(steps: Ints, net: Floats) -> Floats:
    """[price, level]: the most that a sample's requests bring within a level, each taken once (0/1 knapsacks, one a
    sample and price, all at once), in the mean over the samples. steps: a request's size. net[price, request]."""
    grain = int(np.gcd.reduce(np.append(steps, LEVELS - 1)))
    raw = np.random.PCG64(_DRAW).random_raw(SAMPLES * SAMPLE)
    picks = (raw % np.uint64(len(steps))).astype(np.intp).reshape(SAMPLES, SAMPLE)
    level = np.arange((LEVELS - 1) // grain + 1)
    most = np.zeros((SAMPLES, len(net), len(level)))
    for nth in range(SAMPLE):
        pick = picks[:, nth]
        left = level - steps[pick][:, None] // grain
        before = np.take_along_axis(most, np.maximum(left, 0)[:, None, :], axis=2)
        brings = before + net[:, pick].T[:, :, None]
        np.maximum(most, brings, out=most, where=(left >= 0)[:, None, :])
    # Exact in a float: sums of worths do not depend on their order.
    exact: Floats = np.rint(most.mean(axis=0) * 1024) / 1024
    return exact[:, np.arange(LEVELS) // grain]


def _named(needs: Sequence[Need], supply: Sequence[int]) -> Floats:
    """By kind: the share of demand that only this kind (or few) can serve against its share of supply, at most 1."""
    share = np.zeros(len(supply))
    total = sum(need.gpus * need.gpu_milli for need in needs)
    for need in needs:
        if need.kinds is None:
            continue
        served = [kind for kind in need.kinds if 0 <= kind < len(supply)]
        has = sum(supply[kind] for kind in served)
        if has:
            share[served] += need.gpus * need.gpu_milli / total * sum(supply) / has
    return NAMED * np.minimum(share, 1.0)
