"""Streams as rows: opened within bounds, locked while readings are merged into them, and written back in one go."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, exists, func, select
from sqlalchemy.orm import Session

from billing.metering.prefix import Prefix
from billing.metering.runs import Run
from billing.tables.metering import MeteredLeaseRow, ReadingRow, ReadingStreamRow
from infra.statements import Statement, among
from market.agent_api import ATTEMPTS_PER_NODE_MAX
from market.readings import GENESIS

STREAMS_PER_LEASE_MAX = 32
UNKNOWN_STREAMS_MAX = ATTEMPTS_PER_NODE_MAX
"""Streams of one node whose lease billing has not heard of, because its message is still on its way."""

_LOCKED = """
    SELECT stream_id, node_id, lease_id, stored_through, durable_sequence, durable_run_ms, durable_hash,
      finished_at IS NOT NULL AS finished
    FROM reading_streams WHERE {column} = ANY(cast(:names AS text[]))
    ORDER BY stream_id FOR NO KEY UPDATE
"""
_LOCK_NAMED, _LOCK_OF_LEASES = (Statement(_LOCKED.format(column=column)) for column in ("stream_id", "lease_id"))
_OPEN = Statement(
    "INSERT INTO reading_streams (stream_id, node_id, lease_id, durable_hash, created_at) "
    "SELECT stream_id, node_id, lease_id, :genesis, :now FROM unnest(cast(:streams AS text[]), cast(:nodes AS text[]), "
    "cast(:leases AS text[])) AS given(stream_id, node_id, lease_id) ON CONFLICT DO NOTHING"
)
_SAVE = Statement(
    """
    UPDATE reading_streams AS stream SET
      stored_through = given.stored, durable_sequence = given.sequence, durable_run_ms = given.run_ms,
      durable_hash = given.hash, durable_received_at = greatest(stream.durable_received_at, given.received_at),
      finished_at = CASE WHEN given.ended THEN :now ELSE stream.finished_at END
    FROM json_to_recordset(cast(:rows AS json)) AS given
      (id text, stored bigint, sequence bigint, run_ms bigint, hash text, received_at timestamptz, ended boolean)
    WHERE stream.stream_id = given.id
    """
)


@dataclass(slots=True)
class Stream:
    """A locked stream. stored_through: the highest number stored, whatever is missing below it.

    finished: its end is noted; repeated: its node sent what is stored, and has not heard that it is durable.
    """

    stream_id: str
    node_id: str
    lease_id: str
    stored_through: int
    prefix: Prefix
    finished: bool
    repeated: bool = False

    @property
    def just_ended(self) -> bool:
        return self.prefix.final and not self.finished

    @property
    def has_gap(self) -> bool:
        """Whether readings beyond the prefix are stored, which wait for those between."""
        return self.stored_through > self.prefix.sequence


def open_streams(session: Session, runs: Sequence[Run], known_leases: Set[str], now: datetime) -> dict[str, Stream]:
    """The streams of these runs, locked; new ones are made while their lease and node have room for them."""
    firsts = {run.stream_id: run for run in reversed(runs)}
    streams = _locked(session, _LOCK_NAMED, firsts)
    missing = [run for stream_id, run in sorted(firsts.items()) if stream_id not in streams]
    if not missing:
        return streams
    per_lease = _stream_counts(session, {run.lease_id for run in missing})
    unknown_per_node = _unknown_counts(session, {run.node_id for run in missing})
    fitting = []
    for run in missing:
        full = per_lease[run.lease_id] >= STREAMS_PER_LEASE_MAX
        if full or (run.lease_id not in known_leases and unknown_per_node[run.node_id] >= UNKNOWN_STREAMS_MAX):
            continue
        per_lease[run.lease_id] += 1
        unknown_per_node[run.node_id] += run.lease_id not in known_leases
        fitting.append(run)
    if fitting:
        _OPEN.rows(session, _opening(fitting, now))
    return _locked(session, _LOCK_NAMED, firsts)


def of_leases(session: Session, lease_ids: Collection[str]) -> list[Stream]:
    """Every stream that names one of the leases, locked."""
    return list(_locked(session, _LOCK_OF_LEASES, lease_ids).values())


def save(session: Session, streams: Iterable[Stream], now: datetime) -> None:
    """Write locked streams back."""
    rows = [_saved(stream) for stream in streams]
    if rows:
        _SAVE.rows(session, {"rows": json.dumps(rows), "now": now})


def discard(session: Session, stream: Stream) -> int:
    """Drop a stream with all its readings; returns how many they were."""
    gone = session.scalars(
        delete(ReadingRow).where(ReadingRow.stream_id == stream.stream_id).returning(ReadingRow.sequence)
    ).all()
    session.execute(delete(ReadingStreamRow).where(ReadingStreamRow.stream_id == stream.stream_id))
    return len(gone)


def _opening(runs: Sequence[Run], now: datetime) -> dict[str, object]:
    """Columns of new streams; `runs` are in the order of their names, so that two merges never wait in a ring."""
    return {
        "streams": [run.stream_id for run in runs],
        "nodes": [run.node_id for run in runs],
        "leases": [run.lease_id for run in runs],
        "genesis": GENESIS,
        "now": now,
    }


def _locked(session: Session, statement: Statement, names: Iterable[str]) -> dict[str, Stream]:
    """By name, in the order of their names."""
    found = statement.rows(session, {"names": list(names)})
    return {
        stream_id: Stream(
            stream_id, node_id, lease_id, stored, Prefix(sequence, run_ms, hash_, final=finished), finished
        )
        for stream_id, node_id, lease_id, stored, sequence, run_ms, hash_, finished in found
    }


def _saved(stream: Stream) -> dict[str, object]:
    prefix = stream.prefix
    return {
        "id": stream.stream_id,
        "stored": stream.stored_through,
        "sequence": prefix.sequence,
        "run_ms": prefix.run_ms,
        "hash": prefix.hash,
        "received_at": prefix.received_at.isoformat() if prefix.received_at is not None else None,
        # The end of one that is repeated is noted anew, so that its node is told of it for a while longer.
        "ended": prefix.final and (stream.repeated or not stream.finished),
    }


def _stream_counts(session: Session, lease_ids: Set[str]) -> Counter[str]:
    """How many streams each lease has."""
    lease_id = ReadingStreamRow.lease_id
    rows = session.execute(select(lease_id, func.count()).where(among(lease_id, lease_ids)).group_by(lease_id))
    return Counter(dict(iter(rows)))


def _unknown_counts(session: Session, node_ids: Set[str]) -> Counter[str]:
    """How many streams each node has whose lease is not known."""
    node_id = ReadingStreamRow.node_id
    known = exists().where(MeteredLeaseRow.lease_id == ReadingStreamRow.lease_id)
    rows = session.execute(select(node_id, func.count()).where(among(node_id, node_ids), ~known).group_by(node_id))
    return Counter(dict(iter(rows)))
