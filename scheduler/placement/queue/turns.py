"""Whose turn it is: lost nodes' work, then those for whom places are held, then by shares and waits.

An organization's turn comes by the square of its share, by how long the first of its requests has waited: one that
holds twice as much waits four times as long. So a share that is small counts for more than a long wait, but no wait
counts for nothing: without it a whole node that becomes free goes in pieces to small requests of a minute ago, and has
to be held, idle, for the large ones of last week.

A request is *passed over* when it finds no room and another of its unit does that comes later in turn, or is younger
and of the same organization: it is too large for what becomes free at a time, or of lower priority. After
PATIENCE_SECONDS of that it is *due*. For the oldest due one, and for others by shares on at most HELD_PART of all GPUs,
places are held until they fit, and they come before shares. So nobody waits for ever who asks for whole GPUs and may
have them: each due one is the oldest at last, and gets the places that are held for it as soon as what runs there has
ended.

Spot jobs come after all that, the highest bid first, whatever their shares; nothing is held for them, and whoever waits
is not passed over by them, since they make room for it.

Held are the places that are likely to be free first. Nobody knows how long work will run, but what has run for long
mostly goes on for long (its hazard falls with its age), so that is where the youngest work runs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from heapq import heapify, heappop, heappush
from types import MappingProxyType

from market.resources import Unit
from scheduler.placement.queue.lines import Kind, Line, Lines, Rank, rank
from scheduler.placement.queue.shares import Shares
from scheduler.placement.queue.waiting import Account, Amounts, Waiting, asked_by
from scheduler.placement.requests import WHOLE_MILLI, Request

PATIENCE_SECONDS = 900
YOUNG_SECONDS = 600
"""Work is expected to run on as long as it has run, and so much longer."""
HELD_PART = 64
"""One in so many GPUs may be held."""

Running = Mapping[str, Sequence[tuple[int, int]]]
"""By node id: when each work there began, and on how many GPUs."""
_BY_SHARE = 2
_Head = tuple[Rank, Kind]


class Turns:
    """The requests of one round in their turn. Whoever takes one says by `tell` what became of it before the next one
    is asked for; what was placed leaves the lines.

    holding: those for whom places are held as it begins, oldest first. held: by job, the nodes where they are, as
    things stand. passed: the jobs that the round passed over for the first time. ceilings: the jobs that wait because
    of their organization's ceiling. shares: what each organization holds, as things stand.
    """

    def __init__(
        self,
        lines: Lines,
        accounts: Mapping[str, Account],
        used: Mapping[str, Amounts],
        capacity: Amounts,
        now: int,
        *,
        beyond: Sequence[Waiting] = (),
        running: Running = MappingProxyType({}),
        everyone: bool = True,
    ) -> None:
        """beyond: others for whom places are held, though it is not their turn now. running: what runs on nodes, as far
        as it is known; only where places are to be held does it matter. everyone: those behind a first that
        found no room are asked for too, to be told why they wait."""
        self._lines, self._now, self._everyone, self._running = lines, now, everyone, running
        self.shares = Shares(accounts, used, capacity)
        self._closed: dict[tuple[str, Kind], Line] = {}
        self._unfit: dict[tuple[str, Kind], tuple[Line, int]] = {}
        self._not_passed: dict[Unit | None, list[Line]] = {}
        self._youngest: dict[tuple[str, Unit | None], tuple[int, str]] = {}
        self._asked: Waiting | None = None
        self._placed = False
        self._holds_now: tuple[str, ...] = ()
        self.passed: list[str] = []
        self.ceilings: list[str] = []
        here = [line.first for _, _, line in lines if line.first.held]
        self.holding = sorted((*here, *beyond), key=lambda one: one.age)
        self.held: dict[str, tuple[str, ...]] = {one.request.job_id: one.held for one in self.holding}
        self._may_hold = self._due(capacity.gpu_milli // HELD_PART)

    def __iter__(self) -> Iterator[Request]:
        yield from self._early()
        yield from self._by_shares()
        if self._everyone:
            for line, asked in self._unfit.values():
                yield from (one.request for one in line.everyone()[asked:])
            self.ceilings += [one.request.job_id for line in self._closed.values() for one in line.everyone()]

    def tell(self, request: Request, *, placed: bool, held: tuple[str, ...] = ()) -> None:
        """What became of the request that was asked for last; held: where places are held for it, if it found none."""
        if self._asked is not None and self._asked.request is request:
            self._placed, self._holds_now = placed, held

    def holds(self, request: Request) -> bool:
        """Whether places are to be held for a request that finds no room."""
        return request.job_id in self._may_hold

    def seconds_until_free(self, node_id: str, gpus: int) -> int:
        """How much longer work of so many of a node's GPUs may take in all, its youngest work first."""
        seconds = 0
        for began_at, count in sorted(self._running.get(node_id, ()), reverse=True):
            if gpus <= 0:
                break
            seconds += max(self._now - began_at, 0) + YOUNG_SECONDS
            gpus -= count
        return seconds + max(gpus, 0) * YOUNG_SECONDS

    def _due(self, budget_milli: int) -> frozenset[str]:
        """Those for whom places may be held: who has them, the oldest of all, and others by shares up to the budget."""
        chosen = {one.request.job_id for one in self.holding}
        budget_milli -= sum(asked_by(one.request).gpu_milli for one in self.holding)
        due = [line.first for _, _, line in self._lines if self._is_due(line)]
        oldest = min((*self.holding, *due), key=lambda one: one.age, default=None)
        for one in sorted(due, key=lambda one: (one is not oldest, self.shares.of(one.organization_id), one.age)):
            gpu_milli = asked_by(one.request).gpu_milli
            if one is oldest or gpu_milli <= budget_milli:
                budget_milli -= gpu_milli
                chosen.add(one.request.job_id)
        return frozenset(chosen)

    def _is_due(self, line: Line) -> bool:
        passed_at, one = line.passed_at, line.first
        waited = passed_at is not None and self._now - passed_at >= PATIENCE_SECONDS
        return waited and not one.standing and not one.held and not one.request.spot and self._can_be_held_for(one)

    def _can_be_held_for(self, one: Waiting) -> bool:
        """Only whole GPUs are held, and not for who may have no more: else the one place kept for the oldest of all
        would be lost to everybody."""
        request = one.request
        whole = request.gpu is not None and request.gpu_milli == WHOLE_MILLI
        return whole and self.shares.allows(one.organization_id, asked_by(request))

    def _early(self) -> Iterator[Request]:
        """Lost nodes' work and those that are due, oldest first, whatever their share."""
        lines = [(organization_id, kind, line) for organization_id, kind, line in self._lines]
        heap = [(self._urgency(line), line.first.age, whose, at) for at, (whose, _, line) in enumerate(lines)]
        heap = [entry for entry in heap if entry[0] < _BY_SHARE]
        heapify(heap)
        while heap:
            _, _, whose, at = heappop(heap)
            _, kind, line = lines[at]
            yield from self._ask(whose, kind, line)
            if len(line) and (whose, kind) not in self._unfit and (whose, kind) not in self._closed:
                urgency = self._urgency(line)
                if urgency < _BY_SHARE:
                    heappush(heap, (urgency, line.first.age, whose, at))

    def _urgency(self, line: Line) -> int:
        if line.first.request.spot:
            return _BY_SHARE
        if line.first.recovering:
            return 0
        return 1 if line.first.request.job_id in self._may_hold else _BY_SHARE

    def _by_shares(self) -> Iterator[Request]:
        """The organization whose turn it is each time, its first that may find room."""
        heads = {whose: self._heads(whose) for whose in self._lines.of}
        turns = [turn for whose in heads if (turn := self._turn(whose, heads[whose])) is not None]
        heapify(turns)
        while turns:
            *_, whose = heappop(turns)
            _, kind = heads[whose][0]
            line = self._lines.of[whose][kind]
            yield from self._ask(whose, kind, line)
            heappop(heads[whose])
            if len(line) and (whose, kind) not in self._unfit and (whose, kind) not in self._closed:
                heappush(heads[whose], (rank(line.first), kind))
            turn = self._turn(whose, heads[whose])
            if turn is not None:
                heappush(turns, turn)

    def _heads(self, whose: str) -> list[_Head]:
        lines = self._lines.of[whose].items()
        heads = [
            (rank(line.first), kind)
            for kind, line in lines
            if (whose, kind) not in self._unfit and (whose, kind) not in self._closed
        ]
        heapify(heads)
        return heads

    def _turn(self, whose: str, heads: list[_Head]) -> tuple[bool, int, bool, bool, int, tuple[int, str], str] | None:
        """Its place among the organizations: those with an offer to hope for, within a quota, of the least share for
        their wait; then spot jobs by their bids."""
        if not heads:
            return None
        first = self._lines.of[whose][heads[0][1]].first
        borrows = self.shares.borrows(whose, asked_by(first.request))
        spot, bid = first.request.spot, first.request.bid
        waited = max(self._now - first.submitted_at, 0) + PATIENCE_SECONDS
        return spot, -bid, first.standing, borrows, self.shares.of(whose) ** 2 // waited, first.age, whose

    def _ask(self, whose: str, kind: Kind, line: Line) -> Iterator[Request]:
        one = line.first
        asked = asked_by(one.request)
        if not self.shares.allows(whose, asked):
            self._closed[whose, kind] = line
            return
        self._asked, self._placed, self._holds_now = one, False, ()
        yield one.request
        self._asked = None
        if self._placed:
            self._lines.drop_first(whose, kind)
            self.held.pop(one.request.job_id, None)
            self.shares.add(whose, asked)
            if not one.request.spot:
                by = whose, one.request.unit
                self._youngest[by] = max(self._youngest.get(by, one.age), one.age)
                # What found no room before it is passed over.
                for other in self._not_passed.pop(one.request.unit, ()):
                    self._pass_over(other)
        elif self._holds_now and self._holds_now != one.held:
            self._unfit[whose, kind] = line, 0
            self._lines.drop_first(whose, kind)
            self._lines.put(replace(one, held=self._holds_now))
            self.held[one.request.job_id] = self._holds_now
        else:
            self._unfit[whose, kind] = line, 1
            if line.passed_at is None and not one.standing and not one.request.spot:
                self._not_passed.setdefault(one.request.unit, []).append(line)
                if self._youngest.get((whose, one.request.unit), one.age) > one.age:
                    self._pass_over(line)

    def _pass_over(self, line: Line) -> None:
        if line.passed_at is None:
            line.passed_at = self._now
            self.passed.append(line.first.request.job_id)
