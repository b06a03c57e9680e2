"""Readings as rows: runs that lie beyond a stream's watermark are copied in, what does not goes by key.

Both extend the stream's prefix: a copied run at once, stored readings when what was missing before them has come.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import delete
from sqlalchemy.orm import Session

from billing.metering.prefix import Fit
from billing.metering.refusals import Refusals
from billing.metering.rows import COLUMNS, columns_of, hash_in
from billing.metering.runs import Run
from billing.metering.streams import Stream
from billing.tables.metering import ReadingRow
from infra.copying import copy_in
from infra.statements import Statement

_INSERT = Statement(
    f"INSERT INTO readings ({', '.join(COLUMNS)}) "  # noqa: S608 (constants)
    "SELECT * FROM unnest(cast(:stream_id AS text[]), cast(:sequence AS bigint[]), "
    "cast(:run_ms AS bigint[]), cast(:cpu_ms AS bigint[]), cast(:gpu_busy_ms AS bigint[]), "
    "cast(:memory_peak_bytes AS bigint[]), cast(:taken_at_ms AS bigint[]), cast(:final AS boolean[]), "
    "cast(:previous_hash AS text[]), cast(:hash AS text[]), cast(:received_at AS timestamptz[])) "
    "ON CONFLICT DO NOTHING RETURNING stream_id, sequence"
)
_HASHES = Statement(
    "SELECT stream_id, sequence, hash FROM readings "
    "JOIN unnest(cast(:streams AS text[]), cast(:sequences AS bigint[])) AS given(stream_id, sequence) "
    "USING (stream_id, sequence)"
)
_LATER = Statement(
    "SELECT later.* FROM unnest(cast(:ids AS text[]), cast(:ends AS bigint[])) AS head(stream_id, reached) "
    "JOIN readings AS following ON following.stream_id = head.stream_id AND following.sequence = head.reached + 1 "
    "JOIN readings AS later ON later.stream_id = head.stream_id AND later.sequence > head.reached "
    "ORDER BY later.stream_id, later.sequence"
)


@dataclass
class Gathered:
    """What one merge is about to store. fresh: runs beyond the watermarks, which can collide with nothing."""

    fresh: list[Run] = field(default_factory=list)
    others: list[Run] = field(default_factory=list)

    def take(self, stream: Stream, run: Run, refusals: Refusals, *, rated: bool) -> None:
        """Add a run of a locked stream. rated: the stream's lease is known, so that its prefix may grow."""
        known, beyond = run.split(stream.stored_through)
        if known is not None:
            stream.repeated = True
            self.others.append(known)
        if beyond is None:
            return
        if rated and not stream.has_gap and stream.prefix.take(beyond) is Fit.BROKEN:
            # What follows in the run is chained to what can never be rated.
            _refuse_broken(stream, beyond.first, beyond.count, refusals)
            return
        stream.stored_through = beyond.last
        self.fresh.append(beyond)


@dataclass(frozen=True, slots=True)
class _Chain:
    """A stored reading, for its stream's prefix."""

    first: int
    last: int
    previous_hash: str
    hash: str
    run_ms: int
    final: bool
    received_at: datetime


def store_fresh(session: Session, runs: Sequence[Run]) -> int:
    """Copy them in; returns how many readings they are."""
    if runs:
        copy_in(session, ReadingRow, COLUMNS, (run.rows for run in runs))
    return sum(run.count for run in runs)


def store_others(session: Session, runs: Sequence[Run], refusals: Refusals) -> tuple[int, int]:
    """Store what is not there yet; returns how many readings were new, and how many the same as before.

    A second reading under a number that is taken is refused, whichever came first.
    """
    lines: dict[tuple[str, int], tuple[Run, bytes]] = {}
    same = 0
    for run in runs:
        for number, line in enumerate(run.rows.splitlines(keepends=True), start=run.first):
            _, first = lines.setdefault((run.stream_id, number), (run, line))
            if first is line:
                continue
            if hash_in(first) == hash_in(line):
                same += 1
            else:
                _refuse_conflict(run, number, refusals)
    if not lines:
        return 0, 0
    rows = _INSERT.rows(session, columns_of((run.stream_id, line) for run, line in lines.values()))
    new = {(row.stream_id, row.sequence) for row in rows}
    known = {key: item for key, item in lines.items() if key not in new}
    return len(new), same + _same_as_stored(session, known, refusals)


def extend(session: Session, streams: Iterable[Stream], refusals: Refusals) -> None:
    """Move the prefix of each (locked) stream over the stored readings that follow it."""
    waiting = {stream.stream_id: stream for stream in streams if stream.has_gap}
    if not waiting:
        return
    ends = {"ids": list(waiting), "ends": [stream.prefix.sequence for stream in waiting.values()]}
    for stream_id, later in groupby(_LATER.rows(session, ends), lambda row: str(row.stream_id)):
        stream = waiting[stream_id]
        for chain in map(_chain, later):
            fit = stream.prefix.take(chain)
            if fit is Fit.BROKEN:
                here = (ReadingRow.stream_id == stream_id) & (ReadingRow.sequence == chain.first)
                session.execute(delete(ReadingRow).where(here))
                _refuse_broken(stream, chain.first, 1, refusals)
            if fit is not Fit.NEXT:
                break


def _same_as_stored(session: Session, lines: Mapping[tuple[str, int], tuple[Run, bytes]], refusals: Refusals) -> int:
    if not lines:
        return 0
    keys = {"streams": [stream_id for stream_id, _ in lines], "sequences": [number for _, number in lines]}
    same = 0
    for stream_id, number, stored in _HASHES.rows(session, keys):
        run, line = lines[stream_id, number]
        if hash_in(line) == stored:
            same += 1
        else:
            _refuse_conflict(run, number, refusals)
    return same


def _chain(row: Any) -> _Chain:
    return _Chain(row.sequence, row.sequence, row.previous_hash, row.hash, row.run_ms, row.final, row.received_at)


def _refuse_broken(stream: Stream, number: int, count: int, refusals: Refusals) -> None:
    refusals.add(stream.node_id, "broken_chain", f"{stream.stream_id} does not continue at {number}", count)


def _refuse_conflict(run: Run, number: int, refusals: Refusals) -> None:
    refusals.add(run.node_id, "conflicting", f"{run.stream_id} has another reading number {number}")
