"""The rules by which an offer suits a request: a named, ordered list, each counting what it removes.

A later part adds a rule to the list; the search, the quote, the round and the explanation all follow it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from market.money import format_usdc
from market.resources import Unit
from scheduler.placement.snapshot import Books, Flags, Request, Snapshot


@dataclass(frozen=True, slots=True)
class Rule:
    """standing: it judges what an offer is, not what of it is free just now. removes: says what it took away."""

    name: str
    standing: bool
    keeps: Callable[[Snapshot, Books, Request], Flags]
    removes: str


@dataclass(frozen=True, slots=True)
class Sieved:
    """suits: by offer. removed: how many offers each rule took away, in the rules' order, without zeros."""

    suits: Flags
    removed: Mapping[str, int]


def _unit(snapshot: Snapshot, _: Books, request: Request) -> Flags:
    if request.unit is None:
        return _all(snapshot)
    return snapshot.is_gpu if request.unit is Unit.GPU else ~snapshot.is_gpu


def _simulated(snapshot: Snapshot, _: Books, request: Request) -> Flags:
    return _all(snapshot) if request.simulated is None else snapshot.simulated == request.simulated


def _gpu_model(snapshot: Snapshot, _: Books, request: Request) -> Flags:
    return _all(snapshot) if request.gpu is None else snapshot.of_model(request.gpu.model)


def _gpu_memory(snapshot: Snapshot, _: Books, request: Request) -> Flags:
    keeps = _all(snapshot)
    if request.gpu is None:
        return keeps
    if request.gpu.memory_min_bytes is not None:
        keeps &= snapshot.gpu_memory >= request.gpu.memory_min_bytes
    if request.gpu.memory_max_bytes is not None:
        keeps &= snapshot.gpu_memory <= request.gpu.memory_max_bytes
    return keeps


def _gpu_count(snapshot: Snapshot, _: Books, request: Request) -> Flags:
    return _all(snapshot) if request.gpu is None else snapshot.gpu_count >= request.gpu.count


def _cpu(snapshot: Snapshot, _: Books, request: Request) -> Flags:
    return snapshot.cpu_total >= request.cpu_milli


def _memory(snapshot: Snapshot, _: Books, request: Request) -> Flags:
    return snapshot.memory_total >= request.memory_bytes


def _disk(snapshot: Snapshot, _: Books, request: Request) -> Flags:
    return snapshot.disk_total >= request.disk_bytes


def _price(snapshot: Snapshot, _: Books, request: Request) -> Flags:
    limit = request.price_limit_microusd_per_unit_hour
    return _all(snapshot) if limit is None else snapshot.price <= limit


def _online(snapshot: Snapshot, _: Books, __: Request) -> Flags:
    return snapshot.online


def _pool(snapshot: Snapshot, _: Books, __: Request) -> Flags:
    return snapshot.pool_ready


def _gpus_free(snapshot: Snapshot, books: Books, request: Request) -> Flags:
    return _all(snapshot) if request.gpu is None else books.gpus >= request.gpu.count


def _cpu_free(snapshot: Snapshot, books: Books, request: Request) -> Flags:
    return (books.node_cpu >= request.cpu_milli)[snapshot.node_of]


def _memory_free(snapshot: Snapshot, books: Books, request: Request) -> Flags:
    return (books.node_memory >= request.memory_bytes)[snapshot.node_of]


def _disk_free(snapshot: Snapshot, books: Books, request: Request) -> Flags:
    return (books.node_disk >= request.disk_bytes)[snapshot.node_of]


RULES: tuple[Rule, ...] = (
    Rule("unit", True, _unit, "of another unit (GPU or CPU)"),
    Rule("simulated", True, _simulated, "simulated, or not, against the request"),
    Rule("gpu_model", True, _gpu_model, "with another GPU model"),
    Rule("gpu_memory", True, _gpu_memory, "with another GPU memory"),
    Rule("gpu_count", True, _gpu_count, "with too few GPUs"),
    Rule("cpu", True, _cpu, "with too few CPUs"),
    Rule("memory", True, _memory, "with too little memory"),
    Rule("disk", True, _disk, "with too little disk"),
    Rule("price", True, _price, "above the price limit"),
    Rule("online", False, _online, "on nodes that are not heard now"),
    Rule("pool", False, _pool, "on nodes whose pool is not ready"),
    Rule("gpus_free", False, _gpus_free, "whose GPUs are taken now"),
    Rule("cpu_free", False, _cpu_free, "whose CPUs are taken now"),
    Rule("memory_free", False, _memory_free, "whose memory is taken now"),
    Rule("disk_free", False, _disk_free, "whose disk is taken now"),
)
STANDING_RULES = tuple(rule for rule in RULES if rule.standing)
_BY_NAME = {rule.name: rule for rule in RULES}


def sieve(books: Books, request: Request, rules: Sequence[Rule] = RULES) -> Sieved:
    """The offers that pass every rule, and what each rule removed of what the ones before it had left."""
    snapshot = books.snapshot
    suits = _all(snapshot)
    left = len(suits)
    removed: dict[str, int] = {}
    for rule in rules:
        if left == 0:
            break
        suits &= rule.keeps(snapshot, books, request)
        remaining = int(np.count_nonzero(suits))
        if remaining < left:
            removed[rule.name] = left - remaining
        left = remaining
    return Sieved(suits, removed)


def only_for_now(removed: Mapping[str, int]) -> bool:
    """Whether some offer was removed only by what is free just now: waiting helps."""
    return any(not _BY_NAME[name].standing for name in removed)


def in_words(removed: Mapping[str, int], offer_count: int) -> str:
    """The counts as a sentence, such as "of 12 offers: 7 with another GPU model, 5 above the price limit"."""
    if offer_count == 0:
        return "no offers stand in the market now"
    parts = [f"{count} {_BY_NAME[name].removes}" for name, count in removed.items()]
    return f"of {offer_count} {'offer' if offer_count == 1 else 'offers'}: {', '.join(parts)}" if parts else ""


def price_in_words(price_microusd_per_unit_hour: int, unit: Unit) -> str:
    """A price for people, such as "0.42 USDC per GPU-hour"."""
    return f"{format_usdc(price_microusd_per_unit_hour)} USDC per {unit.upper()}-hour"


def _all(snapshot: Snapshot) -> Flags:
    return np.ones(len(snapshot.offers), dtype=np.bool_)
