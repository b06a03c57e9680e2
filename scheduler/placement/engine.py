"""The choice: each request in turn gets the cheapest offer, of those the one that strands least; why others do not."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from scheduler.placement import gangs
from scheduler.placement.books import Books
from scheduler.placement.candidates import Candidates, Shape
from scheduler.placement.decisions import Choice, Decision, Unplaced
from scheduler.placement.explain import Explanation, explain
from scheduler.placement.picking import Lots, pick
from scheduler.placement.queue.holds import Holds
from scheduler.placement.queue.turns import Turns
from scheduler.placement.reclaiming import Reclaim, SpotWork, reclaim
from scheduler.placement.requests import Request, shape_of
from scheduler.placement.shapes import Packing
from scheduler.placement.sieve import only_for_now, sieve
from scheduler.placement.snapshot import Changes, Snapshot

AHEAD = 500


class Engine:
    """What is known of a market, kept from one choice to the next so that only what changed costs anything.

    What is kept is a matter of speed alone: the same arguments always give the same choice, whatever was chosen before.
    It grows with the market, not with its history. changes: how the last snapshot differed from the one before it,
    `followed`; None where the engine began anew with it.
    """

    def __init__(self) -> None:
        self._books = Books(Snapshot((), ()))
        self._candidates = Candidates(self._books)
        self._packing: Packing | None = None
        self._drawn: set[int] = set()
        self.followed: Snapshot = self._books.snapshot
        self.changes: Changes | None = None
        self._held: Holds | None = None

    def choose(
        self,
        snapshot: Snapshot,
        requests: Sequence[Request] | Turns,
        seed: str,
        recent: Sequence[Request] = (),
        ahead: Callable[[Sequence[Decision]], None] | None = None,
    ) -> Choice:
        """Place requests in their order, or in their turns. recent: what was asked for lately, by which is judged what
        a placement strands; without it no offer strands more than another. ahead: is told of decisions AHEAD by AHEAD
        as they are made, for good; never of the last ones."""
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
        turns = requests if isinstance(requests, Turns) else None
        lots = Lots(self._books, seed, [] if turns is not None else [one.job_id for one in requests])
        told = 0
        holds = self._held = self._holds(turns)
        for request in requests:
            shape = shape_of(request)
            # For whom places are held there is room that others of the shape have not.
            why = None if holds is not None and holds.release(request.job_id) else hopeless.get(shape)
            if why is None:
                placed = self._place(request, shape, seed, lots)
                if placed:
                    if ahead is not None and len(decisions) - told >= AHEAD:
                        ahead(decisions[told:])
                        told = len(decisions)
                    decisions.extend(placed)
                    if turns is not None:
                        turns.tell(request, placed=True)
                    continue
                removed = sieve(self._books, request).removed
                why = hopeless[shape] = removed, only_for_now(removed)
            unplaced.append(Unplaced(request, *why))
            if turns is not None and holds is not None:
                held = self._hold(holds, turns, request) if why[1] else ()
                turns.tell(request, placed=False, held=held)
        return Choice(decisions, unplaced)

    def reclaim(self, unplaced: Sequence[Unplaced], works: Iterable[SpotWork]) -> list[Reclaim]:
        """Which spot work is to stop for what the last choice left waiting, beside what it has left free."""
        if self._held is not None:
            # Whose it is comes first in turn again.
            self._held.release_all()
        return reclaim(self._books, lambda one: self._candidates.shape(shape_of(one), one), unplaced, works)

    def explain(self, request: Request) -> Explanation:
        """Why a request finds what it finds in what the last choice has left, and what would let it match."""
        return explain(self._books, request)

    def _see(self, snapshot: Snapshot) -> None:
        """Follow what changed since the last choice, or begin anew where nodes, offers or devices came or went."""
        books = self._books
        self.followed = books.snapshot
        changes = self.changes = snapshot.changes_since(books.snapshot)
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

    def _holds(self, turns: Turns | None) -> Holds | None:
        """What is set aside for those that places are held for, before anybody is given anything."""
        if turns is None:
            return None
        holds = Holds(self._books, self._moved, turns.seconds_until_free)
        for one in turns.holding:
            shape = self._candidates.shape(shape_of(one.request), one.request)
            holds.keep(one.request.job_id, shape.whole, one.held, shape.lasting)
        return holds

    def _hold(self, holds: Holds, turns: Turns, request: Request) -> tuple[str, ...]:
        """Set aside for a request that found no room: where it was, or where least has to become free."""
        held = turns.held.get(request.job_id, ())
        if not held and not turns.holds(request):
            return ()
        shape = self._candidates.shape(shape_of(request), request)
        if held and holds.keep(request.job_id, shape.whole, held, shape.lasting):
            return held
        return holds.make(request.job_id, shape.whole, shape.lasting) if turns.holds(request) else ()

    def _moved(self, node: int) -> None:
        """Something of a node was set aside, or given back."""
        self._candidates.freed(node)
        self._drawn.add(node)
        if self._packing is not None:
            self._packing.put(node)

    def _place(self, request: Request, key: tuple[object, ...], seed: str, lots: Lots) -> list[Decision]:
        """Its decision, one for each member of a gang, or none: a gang is placed whole or not at all."""
        shape = self._candidates.shape(key, request)
        packing = self._packing
        if packing is not None and shape.packing is not packing:
            shape.packing, shape.need = packing, packing.need_of(shape.whole)
        if shape.whole.members > 1:
            offers = gangs.places(self._books, packing, shape, request.job_id, seed)
            return [self._take(request, shape, offer, member) for member, offer in enumerate(offers)]
        equal = self._candidates.cheapest(shape)
        if len(equal) == 0:
            return []
        offer = int(equal[0])
        if len(equal) > 1:
            offer = pick(self._books, packing, shape.need, equal, lots, request.job_id)
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
        price = 0 if host.simulated else min(int(shape.prices[offer]), request.bid)
        return Decision(request, facts, host, gpus, price, member)

    @staticmethod
    def _split(request: Request, whole: Decision) -> list[Decision]:
        """What a gang got on one node, by member."""
        each = request.gpu.count if request.gpu else 0
        return [
            replace(whole, gpus=whole.gpus[member * each : (member + 1) * each], member=member)
            for member in range(request.members)
        ]
