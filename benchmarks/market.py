"""What placement comes to in a market: the default trace's cluster split over 50 providers, each at its own price.

Prices are drawn once: log-normal, median 1 USDC a GPU-hour, sigma 0.25, in steps of 5 cents, so that some are equal.
The pods arrive as in the judge's packing test, up to 130 % of the GPUs, and would pay any price. Compared with
cheapest-first (the first node in name order), lots alone (random ties), and the judge's FGD, which knows no price.

Static clusters: the trace's own times. Each organization (20, pods drawn by Zipf weights 1/k, once) would own GPUs for
its peak, paid by the hour at the median price while the trace lasts; in the market it pays what its pods ran.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.judge import cluster, load
from scheduler.placement.demand import Demand, Need
from scheduler.placement.packing import NEVER, Packer
from scheduler.placement.picking import draw
from scheduler.placement.snapshot import key_of

PROVIDERS, ORGANIZATIONS = 50, 20
SIGMA, STEP_USDC = 0.25, 0.05
DRAWN_ONCE = 2023
TOLERANCES = (0, 50, 100, 200)
HALF_FULL = 60
GINI_MORE_MAX = 0.02


@dataclass
class Outcome:
    """allocation: % at the end. cost: of a GPU-hour in the mean, once HALF_FULL % was asked for: at the end everything
    is taken, the dear too. earned: by provider, USDC an hour for each of its GPUs at the end."""

    allocation: float
    cost: float
    earned: np.ndarray[Any, np.dtype[np.float64]]

    @property
    def gini(self) -> float:
        """0 when all earn alike for a GPU they own, 1 when one earns everything."""
        ranked = np.sort(self.earned)
        count = len(ranked)
        return float((2 * np.arange(1, count + 1) - count - 1) @ ranked / (count * ranked.sum()))


class Market:
    """The judge's arrivals on nodes of many providers. rule: which of the cheapest fitting places."""

    def __init__(self, judge: Any, seed: int) -> None:
        self.nodes, self.pods = cluster(judge)
        self.arrivals = judge.inflated(self.pods, self.nodes.total_gpu_milli, 1.3, seed)
        rng = np.random.default_rng(DRAWN_ONCE)
        self.provider = rng.permutation(np.arange(self.nodes.n) % PROVIDERS)
        raw = np.exp(rng.normal(0, SIGMA, PROVIDERS))
        self.price = np.maximum(np.rint(raw / STEP_USDC), 1) * STEP_USDC
        self.keys = np.array([key_of(f"prv{at}") - (1 << 63) for at in range(PROVIDERS)])
        self.seed = seed

    def run(self, pick: Callable[["Market", Packer, Need, Any, int], int], tolerance_milli: int = 0) -> Outcome:
        """Place every arrival that fits, by that pick of the cheapest places (within the tolerance)."""
        view = self.nodes
        supply = np.bincount(view.model[view.model >= 0], view.gpu_count[view.model >= 0], len(view.model_names))
        packer = Packer(
            Demand([_need(pod) for pod in self.pods], supply.astype(int).tolist()),
            np.arange(view.n),
            view.model,
            view.gpu_free,
            view.cpu_free,
            view.mem_free,
        )
        price = self.price[self.provider]
        earned, placed, arrived, cost = np.zeros(PROVIDERS), 0, 0, 0.0
        for nth, pod in enumerate(self.arrivals):
            need = _need(pod)
            if arrived * 100 < HALF_FULL * view.total_gpu_milli:
                cost = earned.sum() / max(placed, 1) * 1000
            arrived += pod.total_milli
            fits = (packer.losses(need) != NEVER).nonzero()[0]
            if len(fits) == 0:
                continue
            asked = price[fits]
            cheap = fits[asked <= asked.min() * (1 + tolerance_milli / 1000) + 1e-9]
            place = pick(self, packer, need, cheap, nth)
            packer.take(place, need, packer.slots(place, need))
            earned[self.provider[place]] += price[place] * pod.total_milli / 1000
            placed += pod.total_milli
        per_gpu = earned / np.bincount(self.provider, view.gpu_count, PROVIDERS)
        return Outcome(100 * placed / view.total_gpu_milli, cost, per_gpu)

    def lots(self, places: Any, nth: int) -> Any:
        """Those of the provider that the lot falls on."""
        whose = self.provider[places]
        return places[whose == whose[draw(self.keys, str(self.seed), str(nth))[whose].argmin()]]


def gridbay(market: Market, packer: Packer, need: Need, cheap: Any, nth: int) -> int:
    """Least stranded, then lots between providers, then the node with least idle."""
    losses = packer.losses(need, cheap)
    own = market.lots(cheap[losses == losses.min()], nth)
    return int(own[packer.idle[own].argmin()])


def first(_: Market, __: Packer, ___: Need, cheap: Any, ____: int) -> int:
    """Cheapest-first: the first by name."""
    return int(cheap[0])


def ties_by_lot(market: Market, packer: Packer, _: Need, cheap: Any, nth: int) -> int:
    """A random provider of the cheapest, on its node with least idle."""
    own = market.lots(cheap, nth)
    return int(own[packer.idle[own].argmin()])


def _need(pod: Any) -> Need:
    return Need(pod.num_gpu, pod.milli, pod.cpu, pod.mem, frozenset(pod.models) or None)


def pooled(pods: Sequence[Any]) -> dict[str, float]:
    """Every organization's GPUs at its peak for as long as the trace lasts, against what its pods ran. GPU-hours."""
    weights = 1 / np.arange(1, ORGANIZATIONS + 1)
    ran = [pod for pod in pods if pod.duration > 0 and pod.total_milli]
    whose = np.random.default_rng(DRAWN_ONCE).choice(ORGANIZATIONS, len(ran), p=weights / weights.sum())
    begin = np.array([pod.arrive for pod in ran])
    end = begin + np.array([pod.duration for pod in ran])
    gpus = np.array([pod.total_milli / 1000 for pod in ran])
    hours = (end.max() - begin.min()) / 3600
    owned = sum(_peak(begin[whose == one], end[whose == one], gpus[whose == one]) for one in range(ORGANIZATIONS))
    used = float(gpus @ (end - begin)) / 3600
    return {"static": owned * hours, "one_pool": _peak(begin, end, gpus) * hours, "used": used}


def _peak(begin: Any, end: Any, gpus: Any) -> float:
    """The most that ran at once; what ends as another begins does not count with it."""
    times, change = np.concatenate([end, begin]), np.concatenate([-gpus, gpus])
    return float(np.cumsum(change[np.argsort(times, kind="stable")]).max(initial=0))


def main() -> int:
    """Print the tables and one JSON line. Returns 1 where the market does worse than what it is compared with."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    judge, seeds = load(), range(42, 42 + options.seeds)
    found: dict[str, list[Outcome]] = {}
    fgd = []
    for seed in seeds:
        market = Market(judge, seed)
        for tolerance in TOLERANCES:
            name = "gridbay" if tolerance == 0 else f"gridbay, {tolerance / 10:g} % tolerance"
            found.setdefault(name, []).append(market.run(gridbay, tolerance))
        found.setdefault("cheapest-first", []).append(market.run(first))
        found.setdefault("random ties", []).append(market.run(ties_by_lot))
        fgd.append(judge.run_inflate(market.nodes, market.pods, judge.FGD(), seed)["alloc@130"])
    print(f"{PROVIDERS} providers, seeds {seeds[0]}-{seeds[-1]}, once 130 % was asked for (the cost: {HALF_FULL} %)")
    print(f"{'':<26}{'allocated %':>12}{'USDC/GPU-hour':>15}{'Gini':>8}")
    means = {
        name: [statistics.fmean(getattr(one, figure) for one in runs) for figure in ("allocation", "cost", "gini")]
        for name, runs in found.items()
    }
    for name, (allocation, cost, gini) in means.items():
        print(f"{name:<26}{allocation:>12.2f}{cost:>15.4f}{gini:>8.3f}")
    print(f"{'judge FGD, no prices':<26}{statistics.fmean(fgd):>12.2f}")
    hours = pooled(cluster(judge)[1])
    saved = 100 * (1 - hours["used"] / hours["static"])
    print(
        f"static clusters of {ORGANIZATIONS} organizations: {hours['static']:,.0f} GPU-hours; one pool's peak", end=" "
    )
    print(f"{hours['one_pool']:,.0f}; used, and paid for in the market: {hours['used']:,.0f} ({saved:.0f} % saved)")
    ours, cheapest, random = means["gridbay"], means["cheapest-first"], means["random ties"]
    kept = ours[1] <= cheapest[1] * 1.001 and ours[0] >= statistics.fmean(fgd) and ours[2] <= random[2] + GINI_MORE_MAX
    answer = {
        "name": "market",
        "ratio": round(ours[1] / cheapest[1], 4),
        "target": 1.001,
        "allocation": [round(ours[0], 2), round(statistics.fmean(fgd), 2)],
        "gini": [round(ours[2], 3), round(random[2], 3)],
        "saved_percent": round(saved, 1),
        "kept": kept,
    }
    print(json.dumps(answer))
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
