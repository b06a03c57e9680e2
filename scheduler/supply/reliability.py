"""How reliable nodes have been: the attempts that ended there, each counted half after HALF_LIFE.

A node begins with the record of TRUSTED attempts that ended well, so that one bad end is not the whole of it.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from infra.outbox import wake
from market.states import Reason
from scheduler.tables import Attempt, Lease, NodeRecord
from scheduler.waking import PLACE

HALF_LIFE = timedelta(days=30)
TRUSTED = 20
ILL = (Reason.FAILED_PROVIDER_LOST, Reason.STOPPED_LEASE_EXPIRED, Reason.FAILED_START)
"""Ends that are the node's fault."""
LATE = timedelta(minutes=1)
"""Releases are counted so long after they were written, when their transactions are certainly over."""
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Record:
    """How many attempts ended well and ill, in thousandths, each worth what its age leaves of it."""

    well_milli: int = 0
    ill_milli: int = 0

    def aged(self, by: timedelta) -> "Record":
        left = 0.5 ** (by / HALF_LIFE)
        return Record(round(self.well_milli * left), round(self.ill_milli * left))

    def with_ends(self, well: int, ill: int) -> "Record":
        return Record(self.well_milli + 1000 * well, self.ill_milli + 1000 * ill)

    @property
    def reliability_milli(self) -> int:
        well = self.well_milli + 1000 * TRUSTED
        return 1000 * well // (well + self.ill_milli)


def learn(session: Session, now: datetime) -> int:
    """Count the leases released since the last time; returns how many."""
    until = now - LATE
    since = session.scalar(select(func.max(NodeRecord.learned_at))) or _LONG_AGO
    rows = session.execute(
        select(Lease.node_id, Attempt.reason, func.count())
        .join(Attempt, Attempt.id == Lease.attempt_id)
        .where(Lease.released_at > since, Lease.released_at <= until)
        .group_by(Lease.node_id, Attempt.reason)
    ).all()
    ends: dict[str, Counter[bool]] = {}
    for node_id, reason, count in rows:
        ends.setdefault(node_id, Counter())[reason in ILL] += count
    if not ends:
        return 0
    known = {row.node_id: row for row in session.scalars(select(NodeRecord).where(NodeRecord.node_id.in_(ends)))}
    values = []
    for node_id in sorted(ends):
        before = known.get(node_id)
        record = Record() if before is None else Record(before.well_milli, before.ill_milli)
        if before is not None:
            record = record.aged(until - before.learned_at)
        record = record.with_ends(ends[node_id][False], ends[node_id][True])
        values.append(
            {
                "node_id": node_id,
                "well_milli": record.well_milli,
                "ill_milli": record.ill_milli,
                "reliability_milli": record.reliability_milli,
                "learned_at": until,
            }
        )
    statement = insert(NodeRecord).values(values)
    changes = {name: statement.excluded[name] for name in values[0] if name != "node_id"}
    session.execute(statement.on_conflict_do_update(index_elements=["node_id"], set_=changes))
    wake(session, PLACE)
    return sum(count for _, _, count in rows)
