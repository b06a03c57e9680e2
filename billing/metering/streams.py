"""Streams of readings as rows: opened within bounds, filled in any order, extended where they have no gap."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from sqlalchemy import and_, delete, exists, func, select, text, tuple_
from sqlalchemy.orm import Session

from billing.metering.prefix import Head, Stored, advance
from billing.metering.refusals import Refusals
from billing.tables.metering import MeteredLeaseRow, ReadingRow, ReadingStreamRow
from infra.bulk import write_changes
from market.agent_api import ATTEMPTS_PER_NODE_MAX
from market.readings import GENESIS, Reading

STREAMS_PER_LEASE_MAX = 32
UNKNOWN_STREAMS_MAX = ATTEMPTS_PER_NODE_MAX
"""Streams of one node whose lease billing has not heard of, because its message is still on its way."""
AHEAD_MAX = 100_000
"""How far beyond its prefix a stream may reach; what comes later is sent again."""

_INSERT = text(
    "INSERT INTO readings (stream_id, sequence, run_ms, cpu_ms, gpu_busy_ms, memory_peak_bytes, taken_at_ms, final, "
    "previous_hash, hash, received_at) SELECT * FROM unnest(cast(:stream_id AS text[]), cast(:sequence AS bigint[]), "
    "cast(:run_ms AS bigint[]), cast(:cpu_ms AS bigint[]), cast(:gpu_busy_ms AS bigint[]), "
    "cast(:memory_peak_bytes AS bigint[]), cast(:taken_at_ms AS bigint[]), cast(:final AS boolean[]), "
    "cast(:previous_hash AS text[]), cast(:hash AS text[]), cast(:received_at AS timestamptz[])) "
    "ON CONFLICT DO NOTHING RETURNING stream_id, sequence"
)
_OPEN = text(
    "INSERT INTO reading_streams (stream_id, node_id, lease_id, durable_hash, created_at) "
    "SELECT stream_id, node_id, lease_id, :genesis, :now FROM unnest(cast(:streams AS text[]), cast(:nodes AS text[]), "
    "cast(:leases AS text[])) AS given(stream_id, node_id, lease_id) ON CONFLICT DO NOTHING"
)
_COLUMNS = [
    "stream_id",
    "sequence",
    "run_ms",
    "cpu_ms",
    "gpu_busy_ms",
    "memory_peak_bytes",
    "taken_at_ms",
    "final",
    "previous_hash",
]


@dataclass(frozen=True, slots=True)
class Sent:
    """One reading and who sent it."""

    node_id: str
    received_at: datetime
    reading: Reading

    @property
    def key(self) -> tuple[str, int]:
        return self.reading.stream_id, self.reading.sequence


def open_streams(
    session: Session, sent: Sequence[Sent], known_leases: Set[str], now: datetime
) -> dict[str, ReadingStreamRow]:
    """The streams of these readings, locked; new ones are made while their lease and node have room for them."""
    firsts = {item.reading.stream_id: item for item in reversed(sent)}
    streams = _locked(session, firsts)
    missing = [item for stream_id, item in sorted(firsts.items()) if stream_id not in streams]
    if not missing:
        return streams
    per_lease = _stream_counts(session, {item.reading.lease_id for item in missing})
    unknown_per_node = _unknown_counts(session, {item.node_id for item in missing})
    fitting = []
    for item in missing:
        lease_id = item.reading.lease_id
        full = per_lease[lease_id] >= STREAMS_PER_LEASE_MAX
        if full or (lease_id not in known_leases and unknown_per_node[item.node_id] >= UNKNOWN_STREAMS_MAX):
            continue
        per_lease[lease_id] += 1
        unknown_per_node[item.node_id] += lease_id not in known_leases
        fitting.append(item)
    if fitting:
        session.execute(_OPEN, _opening(fitting, now))
    return _locked(session, firsts)


def store(session: Session, sent: Sequence[Sent]) -> set[tuple[str, int]]:
    """Keep these readings; returns the keys of those that were not there."""
    if not sent:
        return set()
    columns: dict[str, list[object]] = {name: [getattr(item.reading, name) for item in sent] for name in _COLUMNS}
    columns["hash"] = [item.reading.hash for item in sent]
    columns["received_at"] = [item.received_at for item in sent]
    return {(row.stream_id, row.sequence) for row in session.execute(_INSERT, columns)}


def count_conflicts(session: Session, repeated: Sequence[Sent], refusals: Refusals) -> None:
    """A second reading under a number that is taken counts as refused, unless it is the same one."""
    if not repeated:
        return
    keys = [item.key for item in repeated]
    rows = session.execute(
        select(ReadingRow.stream_id, ReadingRow.sequence, ReadingRow.hash).where(
            tuple_(ReadingRow.stream_id, ReadingRow.sequence).in_(keys)
        )
    )
    hashes = {(row.stream_id, row.sequence): row.hash for row in rows}
    for item in repeated:
        if hashes.get(item.key) != item.reading.hash:
            refusals.add(item.node_id, "conflicting", f"{item.key[0]} has another reading number {item.key[1]}")


def extend(session: Session, streams: Iterable[ReadingStreamRow], refusals: Refusals, now: datetime) -> bool:
    """Move the prefix of each (locked) stream as far as its readings go; returns whether one got its final reading."""
    rows = {stream.stream_id: stream for stream in streams}
    finished = False
    for stream_id, later in groupby(_later(session, list(rows)), lambda row: row.stream_id):
        stream = rows[stream_id]
        outcome = advance(_head(stream), (_stored(row) for row in later))
        if outcome.broken is not None:
            session.execute(
                delete(ReadingRow).where(ReadingRow.stream_id == stream_id, ReadingRow.sequence == outcome.broken)
            )
            refusals.add(stream.node_id, "broken_chain", f"{stream_id} does not continue at {outcome.broken}")
        head = outcome.head
        if head.final and stream.finished_at is None:
            stream.finished_at, finished = now, True
        stream.durable_sequence, stream.durable_run_ms = head.sequence, head.run_ms
        stream.durable_hash, stream.durable_received_at = head.hash, head.received_at
    write_changes(session)
    return finished


def of_leases(session: Session, lease_ids: Collection[str]) -> Sequence[ReadingStreamRow]:
    """Every stream that names one of the leases, locked."""
    return session.scalars(
        select(ReadingStreamRow)
        .where(ReadingStreamRow.lease_id.in_(lease_ids))
        .order_by(ReadingStreamRow.stream_id)
        .with_for_update(key_share=True)
    ).all()


def discard(session: Session, stream: ReadingStreamRow) -> int:
    """Drop a stream with all its readings; returns how many they were."""
    gone = session.scalars(
        delete(ReadingRow).where(ReadingRow.stream_id == stream.stream_id).returning(ReadingRow.sequence)
    ).all()
    session.delete(stream)
    session.flush()
    return len(gone)


def _opening(items: Sequence[Sent], now: datetime) -> dict[str, object]:
    """Columns of new streams; `items` are in the order of their names, so that two merges never wait in a ring."""
    return {
        "streams": [item.reading.stream_id for item in items],
        "nodes": [item.node_id for item in items],
        "leases": [item.reading.lease_id for item in items],
        "genesis": GENESIS,
        "now": now,
    }


def _locked(session: Session, stream_ids: Iterable[str]) -> dict[str, ReadingStreamRow]:
    rows = session.scalars(
        select(ReadingStreamRow)
        .where(ReadingStreamRow.stream_id.in_(list(stream_ids)))
        .order_by(ReadingStreamRow.stream_id)
        .with_for_update(key_share=True),
        execution_options={"populate_existing": True},
    )
    return {row.stream_id: row for row in rows}


def _stream_counts(session: Session, lease_ids: Set[str]) -> Counter[str]:
    """How many streams each lease has."""
    lease_id = ReadingStreamRow.lease_id
    rows = session.execute(select(lease_id, func.count()).where(lease_id.in_(lease_ids)).group_by(lease_id))
    return Counter(dict(iter(rows)))


def _unknown_counts(session: Session, node_ids: Set[str]) -> Counter[str]:
    """How many streams each node has whose lease is not known."""
    node_id = ReadingStreamRow.node_id
    known = exists().where(MeteredLeaseRow.lease_id == ReadingStreamRow.lease_id)
    rows = session.execute(select(node_id, func.count()).where(node_id.in_(node_ids), ~known).group_by(node_id))
    return Counter(dict(iter(rows)))


def _later(session: Session, stream_ids: Sequence[str]) -> Iterable[ReadingRow]:
    """The readings after each prefix, of the streams where the very next one is there."""
    following = (
        select(ReadingStreamRow.stream_id, ReadingStreamRow.durable_sequence)
        .join(
            ReadingRow,
            and_(
                ReadingRow.stream_id == ReadingStreamRow.stream_id,
                ReadingRow.sequence == ReadingStreamRow.durable_sequence + 1,
            ),
        )
        .where(ReadingStreamRow.stream_id.in_(stream_ids))
        .subquery()
    )
    return session.scalars(
        select(ReadingRow)
        .join(following, ReadingRow.stream_id == following.c.stream_id)
        .where(ReadingRow.sequence > following.c.durable_sequence)
        .order_by(ReadingRow.stream_id, ReadingRow.sequence)
    )


def _head(stream: ReadingStreamRow) -> Head:
    return Head(
        sequence=stream.durable_sequence,
        run_ms=stream.durable_run_ms,
        hash=stream.durable_hash,
        received_at=stream.durable_received_at,
        final=stream.finished_at is not None,
    )


def _stored(row: ReadingRow) -> Stored:
    return Stored(row.sequence, row.run_ms, row.final, row.previous_hash, row.hash, row.received_at)
