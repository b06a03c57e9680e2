"""Runs: unbroken chains of readings of one stream, as a report has them, with their rows ready to be copied in.

A run's readings follow each other by number and by hash, so what is true of its first is true of all: whether it
continues a stream, or can never be rated, is decided once a run.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from billing.metering.rows import line_of, lines_of, number_in, previous_hash_in
from infra.copying import escaped
from market.agent_api import Report
from market.readings import Reading


@dataclass(frozen=True, slots=True)
class Run:
    """Readings `first` to `last`. previous_hash: that the first one names; hash: of the last; run_ms: the most of them.

    node_id: who signed the report; rows: one line for each reading, in COPY's text format.
    """

    node_id: str
    received_at: datetime
    stream_id: str
    lease_id: str
    first: int
    last: int
    previous_hash: str
    hash: str
    run_ms: int
    final: bool
    rows: bytes

    @property
    def count(self) -> int:
        return self.last - self.first + 1

    def split(self, through: int) -> tuple["Run | None", "Run | None"]:
        """The part up to that number, whose own hash and run_ms are not told, and the part after it."""
        if through < self.first:
            return None, self
        if through >= self.last:
            return self, None
        lines = self.rows.splitlines(keepends=True)
        cut = through - self.first + 1
        head = replace(self, last=through, final=False, rows=b"".join(lines[:cut]))
        previous = previous_hash_in(lines[cut])
        return head, replace(self, first=number_in(lines[cut]), previous_hash=previous, rows=b"".join(lines[cut:]))


def runs_of(report: Report, received_at: datetime) -> Iterator[Run]:
    """The runs of a report, in its order. Its names hold no NUL."""
    at = received_at.isoformat()
    yield from _one_by_one(report, received_at, at)
    for run in report.runs:
        hashes = run.hashes()
        yield Run(
            node_id=report.node_id,
            received_at=received_at,
            stream_id=run.stream_id,
            lease_id=run.lease_id,
            first=run.first,
            last=run.last,
            previous_hash=run.previous_hash,
            hash=hashes[-1],
            run_ms=max(run.run_ms),
            final=run.final,
            rows=lines_of(escaped(run.stream_id), run, hashes, at).encode(),
        )


def count_of(report: Report) -> int:
    """How many readings a report has."""
    return len(report.readings) + sum(run.count for run in report.runs)


def _one_by_one(report: Report, received_at: datetime, at: str) -> Iterator[Run]:
    begun: list[Reading] = []
    lines: list[str] = []
    name, last, run_ms = "", "", 0
    for reading in report.readings:
        before = begun[-1] if begun else None
        if before is None or not _continues(reading, before, last):
            if begun:
                yield _run(report.node_id, received_at, begun, last, run_ms, lines)
            begun, lines, name, run_ms = [], [], escaped(reading.stream_id), 0
        last = reading.hash
        run_ms = max(run_ms, reading.run_ms)
        begun.append(reading)
        lines.append(line_of(name, reading, last, at))
    if begun:
        yield _run(report.node_id, received_at, begun, last, run_ms, lines)


def _continues(reading: Reading, before: Reading, hash_before: str) -> bool:
    return (
        reading.sequence == before.sequence + 1
        and reading.previous_hash == hash_before
        and reading.stream_id == before.stream_id
        and reading.lease_id == before.lease_id
        and not before.final
    )


def _run(
    node_id: str, received_at: datetime, readings: list[Reading], last_hash: str, run_ms: int, lines: list[str]
) -> Run:
    first, last = readings[0], readings[-1]
    return Run(
        node_id=node_id,
        received_at=received_at,
        stream_id=first.stream_id,
        lease_id=first.lease_id,
        first=first.sequence,
        last=last.sequence,
        previous_hash=first.previous_hash,
        hash=last_hash,
        run_ms=run_ms,
        final=last.final,
        rows="".join(lines).encode(),
    )
