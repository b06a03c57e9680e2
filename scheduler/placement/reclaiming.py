"""Reclaiming: which spot work makes room for what pays more, where nothing else is free for it. Pure.

On-demand requests take from any spot work, a bid takes from strictly lower ones; on-demand work is never among what is
given. Where several places would do, the cheapest for whoever waits, of those where least is interrupted: the fewest
pieces of work, of the lowest bids, the youngest, which lose least.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from market.resources import Unit
from scheduler.placement.books import Books
from scheduler.placement.candidates import Shape
from scheduler.placement.decisions import Unplaced
from scheduler.placement.requests import WHOLE_MILLI, Request, shape_of

REQUESTS_MAX = 200
"""In one round room is made for so many at most; for the others once these have it."""
ShapeOf = Callable[[Request], Shape]


@dataclass(frozen=True, slots=True)
class SpotWork:
    """What a spot job's attempt holds of a node. bid: micro-USDC for a unit and hour. model: of its GPUs, "" for CPUs.
    began_at: in seconds of one clock. leaving: it has been told to stop, or stops by itself."""

    attempt_id: str
    job_id: str
    node_id: str
    bid: int
    model: str
    gpus: int
    cpu_milli: int
    memory_bytes: int
    disk_bytes: int
    began_at: int
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class Reclaim:
    """Work that is to stop, and for which request. outbid: by another bid, or by somebody who pays the price."""

    work: SpotWork
    request: Request

    @property
    def outbid(self) -> bool:
        return self.request.spot


@dataclass(slots=True)
class _Room:
    """What of a node is free, or will be once those that leave have left; GPUs by the offer's position."""

    cpu_milli: int
    memory_bytes: int
    disk_bytes: int
    gpus: dict[int, int]

    def move(self, work: SpotWork, offer: int | None, sign: int) -> None:
        self.cpu_milli += sign * work.cpu_milli
        self.memory_bytes += sign * work.memory_bytes
        self.disk_bytes += sign * work.disk_bytes
        if offer is not None:
            self.gpus[offer] += sign * work.gpus

    def fits(self, request: Request, offer: int) -> bool:
        return (
            (request.gpu is None or self.gpus[offer] >= request.gpu.count)
            and self.cpu_milli >= request.cpu_milli
            and self.memory_bytes >= request.memory_bytes
            and self.disk_bytes >= request.disk_bytes
        )

    def take(self, request: Request, offer: int) -> None:
        self.cpu_milli -= request.cpu_milli
        self.memory_bytes -= request.memory_bytes
        self.disk_bytes -= request.disk_bytes
        if request.gpu is not None:
            self.gpus[offer] -= request.gpu.count


class _Nodes:
    """The nodes where spot work runs: what is free there, and what may be reclaimed."""

    def __init__(self, books: Books, works: Iterable[SpotWork]) -> None:
        snapshot = books.snapshot
        position = {node.node_id: index for index, node in enumerate(snapshot.nodes)}
        self._offers = snapshot.offers
        self._beside = books.offers_of
        self.works: dict[int, list[SpotWork]] = {}
        self.room: dict[int, _Room] = {}
        for work in works:
            node = position.get(work.node_id)
            if node is None:
                continue
            if node not in self.room:
                gpus = {offer: int(books.whole[offer]) for offer in books.offers_of[node]}
                self.room[node] = _Room(
                    int(books.cpu[node]), int(books.memory[node]), int(books.disk[node]), dict(gpus)
                )
            if work.leaving:
                self.room[node].move(work, self.offer_of(node, work), 1)
            else:
                self.works.setdefault(node, []).append(work)

    def offer_of(self, node: int, work: SpotWork) -> int | None:
        """Whose GPUs it has; None: none, or nobody offers them any more."""
        if not work.gpus:
            return None
        its = (at for at in self._beside[node] if self._offers[at].unit is Unit.GPU)
        return next((at for at in its if self._offers[at].model == work.model), None)

    def least(self, node: int, offer: int, request: Request) -> list[SpotWork] | None:
        """The work whose end lets a request in there, none of it needless; None: all of it would not do."""
        room = self.room[node]
        if room.fits(request, offer):
            return []
        its = [work for work in self.works.get(node, ()) if work.bid < request.bid]
        its.sort(key=lambda work: (work.bid, -work.began_at, work.attempt_id))
        chosen: list[SpotWork] = []
        for work in its:
            room.move(work, self.offer_of(node, work), 1)
            chosen.append(work)
            if room.fits(request, offer):
                break
        fits = room.fits(request, offer)
        for work in reversed(list(chosen)) if fits else ():
            room.move(work, self.offer_of(node, work), -1)
            if room.fits(request, offer):
                chosen.remove(work)
            else:
                room.move(work, self.offer_of(node, work), 1)
        for work in chosen:
            room.move(work, self.offer_of(node, work), -1)
        return chosen if fits else None

    def give(self, node: int, offer: int, request: Request, chosen: Sequence[SpotWork]) -> None:
        """What was chosen leaves, and the request has its room."""
        for work in chosen:
            self.room[node].move(work, self.offer_of(node, work), 1)
            self.works[node].remove(work)
        self.room[node].take(request, offer)


def reclaim(
    books: Books, shape_of_request: ShapeOf, unplaced: Sequence[Unplaced], works: Iterable[SpotWork]
) -> list[Reclaim]:
    """What is to stop for those that found no room: on-demand ones in their turn, then bids, the highest first."""
    nodes = _Nodes(books, works)
    waiting = [one.request for one in unplaced if one.waits and _alone(one.request)]
    waiting.sort(key=lambda request: -request.bid)
    found: list[Reclaim] = []
    served, hopeless = 0, set[object]()
    for request in waiting:
        key = shape_of(request)
        if key in hopeless:
            continue
        place = _place(books, nodes, shape_of_request(request), request)
        if place is None:
            # What may leave only shrinks from here on.
            hopeless.add(key)
            continue
        node, offer, chosen = place
        nodes.give(node, offer, request, chosen)
        found.extend(Reclaim(work, request) for work in chosen)
        served += 1
        if served >= REQUESTS_MAX:
            break
    return found


def _alone(request: Request) -> bool:
    """Of one node and whole GPUs: nothing else is run so far."""
    return request.members == 1 and request.gpu_milli == WHOLE_MILLI and not request.group_max


def _place(books: Books, nodes: _Nodes, shape: Shape, request: Request) -> tuple[int, int, list[SpotWork]] | None:
    """Where room is made for a request, and of what; a place that will be free anyway is the best."""
    best: tuple[tuple[int, ...], int, int, list[SpotWork]] | None = None
    for node in nodes.room:
        for offer in books.offers_of[node]:
            if not shape.lasting[offer]:
                continue
            chosen = nodes.least(node, offer, request)
            if chosen is None:
                continue
            cost = (
                len(chosen) > 0,
                min(int(shape.prices[offer]), request.bid),
                len(chosen),
                sum(work.bid for work in chosen),
                -sum(work.began_at for work in chosen),
                offer,
            )
            if best is None or cost < best[0]:
                best = cost, node, offer, chosen
    return None if best is None else best[1:]
