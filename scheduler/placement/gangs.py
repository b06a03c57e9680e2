"""Where a gang stands: each member on a node of its own, all in one pool."""

import numpy as np

from scheduler.placement.books import Books
from scheduler.placement.candidates import UNFIT, Shape
from scheduler.placement.picking import draw
from scheduler.placement.shapes import Packing


def places(books: Books, packing: Packing | None, shape: Shape, job_id: str, seed: str) -> list[int]:
    """The offers its members get, empty where no pool has nodes enough.

    In each pool the cheapest nodes, of equally cheap ones those where it strands least, then the fullest. Of the pools
    the one that is cheapest in all, or within the tolerance strands least; between equals lots are drawn.
    """
    snapshot, request = books.snapshot, shape.whole
    suits = (shape.asking < UNFIT).nonzero()[0]
    node, pool = snapshot.node_of[suits], books.providers[0][suits]
    losses = np.zeros(len(suits), dtype=np.int64)
    if packing is not None and shape.need is not None:
        losses = packing.losses(shape.need, suits)
    price = shape.asking[suits]
    # np.lexsort takes the most important key last, and is stable: the snapshot's order decides what is left.
    order = np.lexsort((books.memory[node], books.cpu[node], books.whole[suits], losses, price, pool))
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
    cost = [int(price[gang].sum()) for gang in gangs]
    limit = min(cost) + min(cost) * request.price_tolerance_milli // 1000
    near = [gang for gang, total in zip(gangs, cost, strict=True) if total <= limit]
    lots = draw(books.providers[1][[pool[gang[0]] for gang in near]], seed, job_id).tolist()
    best = min(range(len(near)), key=lambda index: (int(losses[near[index]].sum()), lots[index]))
    chosen: list[int] = suits[near[best]].tolist()
    return chosen
