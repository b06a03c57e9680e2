"""Watches that stand between the polls of a node: what it was answered is still so until a wake-up says otherwise, so
that a poll which asks for no more than to wait costs the database nothing."""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from portal_api.topics import Topics, Watch

STANDING_MAX = 50_000


@dataclass(slots=True)
class Standing:
    """answered: the version that the node was told last, and whose wake-ups were all watched for; None if none was."""

    watch: Watch
    answered: int | None = None

    def is_still(self, version: int) -> bool:
        """Whether nothing was heard since the node was told that version."""
        return self.answered == version and not self.watch.event.is_set()


class StandingWatches:
    """One for each node that polled, the newest `most` of them."""

    def __init__(self, topics: Topics, most: int = STANDING_MAX) -> None:
        self._topics, self._most = topics, most
        self._standing: OrderedDict[str, Standing] = OrderedDict()

    @contextmanager
    def of(self, node_id: str) -> Iterator[Standing]:
        """The node's watch for one poll; two at a time have one each."""
        standing = self._standing.pop(node_id, None) or self._begin(node_id)
        try:
            yield standing
        finally:
            # A poll that ended without its answer has heard what nobody was told: then none is answered.
            older = self._standing.pop(node_id, None)
            self._standing[node_id] = standing
            if older is not None:
                self._topics.unregister(older.watch)
            while len(self._standing) > self._most:
                _, oldest = self._standing.popitem(last=False)
                self._topics.unregister(oldest.watch)

    def _begin(self, node_id: str) -> Standing:
        watch = self._topics.watch(f"node:{node_id}")
        self._topics.register(watch)
        return Standing(watch)
