"""The choice: each request in turn gets the cheapest offer, of those the one that strands least; why others do not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scheduler.placement.rules import only_for_now, sieve
from scheduler.placement.shapes import Packing
from scheduler.placement.snapshot import Books, Flags, NodeFacts, OfferFacts, Request, Snapshot, key_of


@dataclass(frozen=True, slots=True)
class Decision:
    """A request gets these GPUs (or CPUs) of an offer at that price."""

    request: Request
    offer: OfferFacts
    node: NodeFacts
    gpus: tuple[int, ...]
    price_microusd_per_unit_hour: int


@dataclass(frozen=True, slots=True)
class Unplaced:
    """A request no offer suits now. removed: by rule. waits: some offer would suit if it were free."""

    request: Request
    removed: Mapping[str, int]
    waits: bool


@dataclass(frozen=True, slots=True)
class Choice:
    decisions: list[Decision]
    unplaced: list[Unplaced]


def choose(snapshot: Snapshot, requests: Sequence[Request], seed: str, recent: Sequence[Request] = ()) -> Choice:
    """Place requests in their order. recent: what was asked for lately, by which is judged what a placement strands;
    without it no offer strands more than another. The same arguments always give the same choice."""
    books = Books(snapshot)
    packing = Packing(books, recent) if recent else None
    decisions: list[Decision] = []
    unplaced: list[Unplaced] = []
    # What is free only shrinks within a round: a shape that found nothing finds nothing later in it.
    hopeless: dict[Request, Mapping[str, int]] = {}
    for request in requests:
        removed = hopeless.get(request.shape)
        if removed is None:
            sieved = sieve(books, request)
            if sieved.suits.any():
                offer = _best(books, packing, request, sieved.suits, seed)
                if packing is not None:
                    packing.take(offer, request)
                decisions.append(_take(books, request, offer))
                continue
            removed = hopeless[request.shape] = sieved.removed
        unplaced.append(Unplaced(request, removed, only_for_now(removed)))
    return Choice(decisions, unplaced)


def _take(books: Books, request: Request, offer: int) -> Decision:
    facts = books.snapshot.offers[offer]
    node = books.snapshot.nodes[books.snapshot.node_of[offer]]
    price = 0 if node.simulated else facts.price_microusd_per_unit_hour
    return Decision(request, facts, node, books.take(offer, request), price)


def _best(books: Books, packing: Packing | None, request: Request, suits: Flags, seed: str) -> int:
    """The position of the cheapest suitable offer; among equally cheap ones, of one that strands least.

    Between providers equal in that the round's seed and the job draw lots, so that nobody is always first; within a
    provider the fullest node that still fits is taken, so that large requests find whole nodes.
    """
    snapshot = books.snapshot
    candidates = np.flatnonzero(suits)
    prices = snapshot.price[candidates]
    cheapest = candidates[prices == prices.min()]
    if packing is not None and len(cheapest) > 1:
        losses = packing.losses(request)[cheapest]
        cheapest = cheapest[losses == losses.min()]
    lots = _lots(snapshot.provider_key[cheapest], seed, request.job_id)
    own = cheapest[lots == lots.min()]
    return int(own[_fullest_first(books, own)[0]])


def _fullest_first(books: Books, offers: NDArray[np.intp]) -> NDArray[np.intp]:
    """These offers by what their nodes have left, least first; CPU work goes to nodes without GPUs before others."""
    snapshot = books.snapshot
    node = snapshot.node_of[offers]
    spares_gpus = snapshot.node_has_gpus[node] & ~snapshot.is_gpu[offers]
    # np.lexsort takes the most important key last, and is stable: the snapshot's order decides what is left.
    return np.lexsort((books.node_memory[node], books.node_cpu[node], books.gpus[offers], spares_gpus))


def _lots(provider_keys: NDArray[np.uint64], seed: str, job_id: str) -> NDArray[np.uint64]:
    """A number for each provider that only the seed and the job decide (the finalizer of splitmix64)."""
    mixed = provider_keys ^ np.uint64(key_of(f"{seed}|{job_id}"))
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
