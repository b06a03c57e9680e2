"""Who waits, in one line for each organization and kind of request: what stands behind a first that finds no room
finds none either, so that only the first of each line is ever asked."""

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush

from scheduler.placement.queue.waiting import Waiting
from scheduler.placement.requests import shape_of

Kind = tuple[object, ...]
Rank = tuple[bool, int, bool, int, int, str]


class Line:
    """Those of one organization that ask for the same with the same urgency, oldest first.

    passed_at: since when the first one of it is passed over, None if it is not.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[tuple[int, str], Waiting]] = []
        self.passed_at: int | None = None

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def first(self) -> Waiting:
        return self._heap[0][1]

    def put(self, one: Waiting) -> None:
        """One more."""
        first = not self._heap or one.age < self._heap[0][0]
        heappush(self._heap, (one.age, one))
        if first:
            self.passed_at = one.passed_at

    def drop_first(self) -> None:
        """The first one waits no longer."""
        heappop(self._heap)
        self.passed_at = self._heap[0][1].passed_at if self._heap else None

    def everyone(self) -> list[Waiting]:
        """All of them, oldest first."""
        return [one for _, one in sorted(self._heap, key=lambda item: item[0])]


class Lines:
    """All that waits. Those for whom places are held stand in lines of their own.

    It may be kept from one round to the next: a round takes out what it places.
    """

    def __init__(self, waiting: Iterable[Waiting] = ()) -> None:
        self.of: dict[str, dict[Kind, Line]] = {}
        for one in waiting:
            self.put(one)

    def put(self, one: Waiting) -> None:
        """One more waits."""
        mark = one.request.job_id if one.held else ""
        kind = (mark, one.recovering, one.priority, one.standing, shape_of(one.request))
        self.of.setdefault(one.organization_id, {}).setdefault(kind, Line()).put(one)

    def drop_first(self, organization_id: str, kind: Kind) -> None:
        """The first of a line waits no longer."""
        line = self.of[organization_id][kind]
        line.drop_first()
        if not line:
            del self.of[organization_id][kind]
            if not self.of[organization_id]:
                del self.of[organization_id]

    def __iter__(self) -> Iterator[tuple[str, Kind, Line]]:
        for organization_id, lines in self.of.items():
            for kind, line in lines.items():
                yield organization_id, kind, line


def rank(one: Waiting) -> Rank:
    """Within an organization: spot jobs last, the higher bid first; then those that wait for an offer last, then by
    priority, then by age."""
    return one.request.spot, -one.request.bid, one.standing, -one.priority, *one.age
