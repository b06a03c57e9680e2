"""The market as rounds read it: whole once, then only what has changed since.

Triggers write a row for each change, in its transaction (tables/changes.py). What the database's snapshot at one
reading did not see of them, the next reading takes: what is kept is always what the rows say, whoever changed them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from infra.statements import Statement
from market.resources import Unit
from scheduler.placement.facts import NodeFacts, OfferFacts
from scheduler.placement.snapshot import Snapshot
from scheduler.rounds import snapshots
from scheduler.tables import FACTS

KEPT_FOR, WHOLE_EVERY = timedelta(minutes=1), timedelta(minutes=5)
"""After so long without a round the market is read whole, and so often in any case: whatever was missed ends there."""
CHANGES_KEPT_FOR = timedelta(minutes=30)
"""Longer than that, and than any transaction lasts."""
FORGET_MAX = 20_000
NEVER = 1 << 62

# What a transaction sees of its own is no more than a wish until it commits: `mine`. Of the transaction that read last
# the snapshot says nothing, so what it wrote afterwards is taken by its number, `own`.
_CHANGES = Statement(
    """
    SELECT now() AS now,
        (SELECT oid FROM pg_database WHERE datname = current_database()) || ' ' || pg_postmaster_start_time() AS server,
        cast(pg_current_snapshot() AS text) AS seen,
        coalesce(cast(cast(pg_current_xact_id_if_assigned() AS text) AS bigint), 0) AS own,
        changed.node_id, changed.mine,
        node.cpu_free_milli, node.memory_free_bytes, node.disk_free_bytes, node.revision
    FROM (SELECT) AS one_row LEFT JOIN (
        SELECT node_id,
            bool_or(transaction_id = cast(cast(pg_current_xact_id_if_assigned() AS text) AS bigint)) AS mine
        FROM market_changes
        WHERE transaction_id >= :since AND (transaction_id = :own
                OR NOT pg_visible_in_snapshot(cast(cast(transaction_id AS text) AS xid8), cast(:seen AS pg_snapshot)))
            OR transaction_id = cast(cast(pg_current_xact_id_if_assigned() AS text) AS bigint)
        GROUP BY node_id
    ) AS changed ON true LEFT JOIN nodes AS node ON node.id = changed.node_id
    """
)

_FORGET = Statement(
    """
    WITH dropped AS (
        DELETE FROM market_changes WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM market_changes WHERE changed_at < now() - cast(:kept_for AS float) * interval '1 second'
            ORDER BY transaction_id LIMIT cast(:limit AS bigint)
        )) RETURNING 1
    )
    SELECT count(*) AS dropped FROM dropped
    """
)


@dataclass(frozen=True, slots=True)
class _Kept:
    """seen: the database's snapshot in which nothing is missing here, told by the transaction `own` (0: it had no
    number) at that time. until: when the clock alone makes some of it untrue. nodes, offers: their positions, offers of
    GPUs by node."""

    snapshot: Snapshot
    server: str
    seen: str
    own: int
    at: datetime
    whole_at: datetime
    until: datetime | None
    nodes: Mapping[str, int]
    offers: Mapping[str, Sequence[int]]

    @property
    def since(self) -> int:
        """No transaction with a lower number is unseen."""
        oldest = int(self.seen.partition(":")[0])
        return min(oldest, self.own) if self.own else oldest

    def stands(self, server: str, now: datetime) -> bool:
        if self.server != server or (self.until is not None and now >= self.until):
            return False
        return self.at <= now < self.at + KEPT_FOR and now < self.whole_at + WHOLE_EVERY

    def revised(self, changed: Mapping[str, Any]) -> bool:
        """Whether one of these nodes has another revision: a fact of it changed, whether that was told or not."""
        here = (node_id for node_id in changed if node_id in self.nodes)
        return any(changed[one].revision != self.snapshot.nodes[self.nodes[one]].revision for one in here)


class KeptMarket:
    """For one thread."""

    def __init__(self) -> None:
        self._kept: _Kept | None = None

    def forget(self) -> None:
        """Read it whole the next time."""
        self._kept = None

    def read(self, session: Session) -> Snapshot:
        """As snapshots.load."""
        kept = self._kept
        since, own, seen = (kept.since, kept.own, kept.seen) if kept else (NEVER, 0, "1:1:")
        rows = _CHANGES.rows(session, {"since": since, "own": own, "seen": seen})
        look, changed = rows[0], {row.node_id: row for row in rows if row.node_id is not None}
        if any(row.mine for row in changed.values()):
            # It may be undone yet.
            return snapshots.load(session)
        if kept is None or FACTS in changed or kept.revised(changed) or not kept.stands(look.server, look.now):
            snapshot, until = snapshots.load_until(session)
            nodes = {node.node_id: at for at, node in enumerate(snapshot.nodes)}
            offers: dict[str, list[int]] = {}
            for at, offer in enumerate(snapshot.offers):
                if offer.unit is Unit.GPU:
                    offers.setdefault(offer.node_id, []).append(at)
            self._kept = _Kept(snapshot, look.server, look.seen, look.own, look.now, look.now, until, nodes, offers)
            return snapshot
        here = {node_id: row for node_id, row in changed.items() if node_id in kept.nodes}
        snapshot = _followed(session, kept, here) if here else kept.snapshot
        self._kept = replace(kept, snapshot=snapshot, seen=look.seen, own=look.own, at=look.now)
        return snapshot


def forget(session: Session) -> int:
    """Drop changes that nobody reads any more, the oldest first and no more than FORGET_MAX; how many."""
    rows = _FORGET.rows(session, {"kept_for": CHANGES_KEPT_FOR.total_seconds(), "limit": FORGET_MAX})
    return int(rows[0].dropped)


def _followed(session: Session, kept: _Kept, changed: Mapping[str, Any]) -> Snapshot:
    """What was kept, with the room of these nodes as it is now."""
    before = kept.snapshot
    cards = snapshots.cards_of(session, changed.keys())
    nodes: dict[int, NodeFacts] = {}
    offers: dict[int, OfferFacts] = {}
    for node_id, row in changed.items():
        at = kept.nodes[node_id]
        nodes[at] = replace(
            before.nodes[at],
            cpu_free_milli=row.cpu_free_milli,
            memory_free_bytes=row.memory_free_bytes,
            disk_free_bytes=row.disk_free_bytes,
        )
        for place in kept.offers.get(node_id, ()):
            offer = before.offers[place]
            card = cards.get((node_id, offer.model))
            if card is not None:
                offers[place] = replace(offer, **card)
    return before.but(nodes, offers)
