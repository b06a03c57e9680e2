"""The choice: each request in turn gets the cheapest offer, of those the one that strands least; why others do not."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from scheduler.placement import gangs
from scheduler.placement.books import Books
from scheduler.placement.candidates import UNFIT, Candidates, Shape
from scheduler.placement.decisions import Choice, Decision, Unplaced
from scheduler.placement.explain import Explanation, explain
from scheduler.placement.picking import pick
from scheduler.placement.requests import Request, shape_of
from scheduler.placement.shapes import Packing
from scheduler.placement.sieve import only_for_now, sieve
from scheduler.placement.snapshot import Snapshot


class Engine:
    """What is known of a market, kept from one choice to the next so that only what changed costs anything.

    What is kept is a matter of speed alone: the same arguments always give the same choice, whatever was chosen before.
    It grows with the market, not with its history.
    """

    def __init__(self) -> None:
        self._books = Books(Snapshot((), ()))
        self._candidates = Candidates(self._books)
        self._packing: Packing | None = None
        self._drawn: set[int] = set()

    def choose(
        self, snapshot: Snapshot, requests: Sequence[Request], seed: str, recent: Sequence[Request] = ()
    ) -> Choice:
        """Place requests in their order. recent: what was asked for lately, by which is judged what a placement
        strands; without it no offer strands more than another."""
        self._see(snapshot)
        if not recent:
            self._packing = None
        else:
            self._packing = self._packing or Packing(self._books)
            self._packing.judge_by(recent)
        decisions: list[Decision] = []
        unplaced: list[Unplaced] = []
        # What is free only shrinks within a round: a shape that found nothing finds nothing later in it.
        hopeless: dict[object, tuple[Mapping[str, int], bool]] = {}
        for request in requests:
            shape = shape_of(request)
            why = hopeless.get(shape)
            if why is None:
                placed = self._place(request, shape, seed)
                if placed:
                    decisions.extend(placed)
                    continue
                removed = sieve(self._books, request).removed
                why = hopeless[shape] = removed, only_for_now(removed)
            unplaced.append(Unplaced(request, *why))
        return Choice(decisions, unplaced)

    def explain(self, request: Request) -> Explanation:
        """Why a request finds what it finds in what the last choice has left, and what would let it match."""
        return explain(self._books, request)

    def _see(self, snapshot: Snapshot) -> None:
        """Follow what changed since the last choice, or begin anew where nodes, offers or devices came or went."""
        books = self._books
        changes = snapshot.changes_since(books.snapshot)
        if changes is None:
            self._books = Books(snapshot)
            self._candidates = Candidates(self._books)
            self._packing = None
        else:
            if changes.lasting:
                self._candidates.facts_changed()
            for node in sorted(changes.nodes | self._drawn):
                if not books.agree(snapshot, node):
                    books.put(snapshot, node)
                    self._candidates.freed(node)
                    if self._packing is not None:
                        self._packing.put(node)
            books.snapshot = snapshot
        self._drawn.clear()

    def _place(self, request: Request, key: tuple[object, ...], seed: str) -> list[Decision]:
        """Its decision, one for each member of a gang, or none: a gang is placed whole or not at all."""
        shape = self._candidates.shape(key, request)
        asking, packing = shape.asking, self._packing
        if packing is not None and shape.packing is not packing:
            shape.packing, shape.need = packing, packing.need_of(shape.whole)
        if shape.whole.members > 1:
            offers = gangs.places(self._books, packing, shape, request.job_id, seed)
            return [self._take(request, shape, offer, member) for member, offer in enumerate(offers)]
        least = int(asking.min(initial=UNFIT))
        if least == UNFIT:
            return []
        equal = (asking <= least + least * request.price_tolerance_milli // 1000).nonzero()[0]
        offer = (
            int(equal[0]) if len(equal) == 1 else pick(self._books, packing, shape.need, equal, request.job_id, seed)
        )
        if request.members == 1:
            return [self._take(request, shape, offer, 0)]
        return self._split(request, self._take(request, shape, offer, 0))

    def _take(self, request: Request, shape: Shape, offer: int, member: int) -> Decision:
        """Draw one member; all at once of a gang on one node."""
        books, packing = self._books, self._packing
        facts, node = books.snapshot.offers[offer], int(books.snapshot.node_of[offer])
        if packing is None or shape.need is None:
            slots = books.slots(offer, shape.whole)
        else:
            slots = packing.slots(offer, shape.whole, shape.need)
            packing.take(offer, shape.need, slots)
        gpus = books.take(offer, shape.whole, slots)
        self._candidates.drawn(node)
        self._drawn.add(node)
        host = books.snapshot.nodes[node]
        price = 0 if host.simulated else facts.price_microusd_per_unit_hour
        return Decision(request, facts, host, gpus, price, member)

    @staticmethod
    def _split(request: Request, whole: Decision) -> list[Decision]:
        """What a gang got on one node, by member."""
        each = request.gpu.count if request.gpu else 0
        return [
            replace(whole, gpus=whole.gpus[member * each : (member + 1) * each], member=member)
            for member in range(request.members)
        ]
