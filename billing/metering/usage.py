"""Usage: merges signed reports into streams of readings, in any order and any number of times.

The portal has checked each report's signature. A reading counts only for a lease of the node that sent it; what is
refused is counted in reading_refusals.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import ValidationError
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from billing.metering import streams
from billing.metering.refusals import Refusals
from billing.metering.streams import AHEAD_MAX, Sent
from billing.tables.metering import MeteredLeaseRow, ReadingStreamRow
from infra.outbox import wake
from market.agent_api import ATTEMPTS_PER_NODE_MAX, REPORT_BODY_MAX_BYTES, Report

UNKNOWN_LEASES_MAX = 500
"""Leases of one merge that billing has not heard of; readings of more are refused and come again."""
FINISHED_TOLD = timedelta(minutes=1)
"""How long an ended stream is talked about; a node that missed it sends its readings again, and then is told again."""
STREAMS_TOLD_MAX = 4 * ATTEMPTS_PER_NODE_MAX

# The database's clock decides only how long an ended stream is still talked about.
_DURABLE = text(
    """
    SELECT node.id AS node_id, stream.stream_id, stream.durable_sequence
    FROM unnest(cast(:nodes AS text[])) AS node(id)
    CROSS JOIN LATERAL (
        SELECT stream_id, durable_sequence FROM reading_streams
        WHERE node_id = node.id AND (finished_at IS NULL OR finished_at > now() - cast(:told AS interval))
        ORDER BY created_at DESC, stream_id
        LIMIT :limit
    ) AS stream
    """
)
_LOCK_LEASES = text("SELECT pg_advisory_xact_lock(hashtextextended(id, 0)) FROM unnest(cast(:ids AS text[])) AS id")


@dataclass(frozen=True, slots=True)
class SignedReport:
    """node_id: of the credential, whose key signed it; body: exactly the bytes that were signed."""

    node_id: str
    received_at: datetime
    body: bytes


@dataclass(frozen=True, slots=True)
class MergeResult:
    """How many readings were new, known already, and refused by cause."""

    stored: int
    repeated: int
    refused: Mapping[str, int]


def merge(session: Session, reports: Sequence[SignedReport], now: datetime) -> MergeResult:
    """Store what is new and extend each stream's contiguous, hash-chained prefix; twice is as good as once."""
    refusals = Refusals()
    sent = list(_unique([item for report in reports for item in _read(report, refusals)], refusals))
    nodes = _nodes_of(session, {item.reading.lease_id for item in sent})
    unknown = sorted({item.reading.lease_id for item in sent} - nodes.keys())[:UNKNOWN_LEASES_MAX]
    nodes |= _await_binding(session, unknown)
    sent = [item for item in sent if _is_own(item, nodes, unknown, refusals)]
    rows = streams.open_streams(session, sent, nodes.keys(), now)
    sent = [item for item in sent if _fits(item, rows, refusals)]
    new = streams.store(session, sent)
    repeated = [item for item in sent if item.key not in new]
    streams.count_conflicts(session, repeated, refusals)
    touched = {item.reading.stream_id for item in sent if item.reading.lease_id in nodes}
    if streams.extend(session, [rows[stream_id] for stream_id in sorted(touched)], refusals, now):
        wake(session, "billing.capture")
    for stream_id in {item.reading.stream_id for item in repeated}:
        if rows[stream_id].finished_at is not None:
            # The node has not heard that it is durable: tell it for a while longer.
            rows[stream_id].finished_at = now
    refusals.save(session, now)
    session.flush()
    return MergeResult(len(new), len(repeated), refusals.by_cause())


def adopt(session: Session, lease_ids: Collection[str], now: datetime) -> None:
    """Leases have just become known: rate the readings that were faster, drop those of nodes they are not with."""
    early = streams.of_leases(session, lease_ids)
    if not early:
        return
    refusals = Refusals()
    nodes = _nodes_of(session, {stream.lease_id for stream in early})
    own = []
    for stream in early:
        if stream.node_id == nodes[stream.lease_id]:
            own.append(stream)
        else:
            count = streams.discard(session, stream)
            refusals.add(stream.node_id, "foreign_lease", f"{stream.lease_id} is not with this node", count)
    streams.extend(session, own, refusals, now)
    refusals.save(session, now)


def announce(session: Session, lease_ids: Collection[str]) -> None:
    """Called before leases are made known: waits for merges that saw them unknown, so that `adopt` finds theirs."""
    session.execute(_LOCK_LEASES, {"ids": sorted(lease_ids)})


def durable_through(session: Session, node_ids: Collection[str]) -> dict[str, dict[str, int]]:
    """By node and stream, the last reading that is safe: of streams that go on, and of those that ended just now."""
    values = {"nodes": list(node_ids), "told": FINISHED_TOLD, "limit": STREAMS_TOLD_MAX}
    found: dict[str, dict[str, int]] = {node_id: {} for node_id in node_ids}
    for row in session.execute(_DURABLE, values) if found else ():
        found[row.node_id][row.stream_id] = row.durable_sequence
    return found


def _read(report: SignedReport, refusals: Refusals) -> list[Sent]:
    if len(report.body) > REPORT_BODY_MAX_BYTES:
        refusals.add(report.node_id, "malformed", f"a report of {len(report.body)} bytes")
        return []
    try:
        content = Report.model_validate_json(report.body)
    except ValidationError as error:
        refusals.add(report.node_id, "malformed", str(error.errors(include_url=False, include_input=False)[0]))
        return []
    if content.node_id != report.node_id:
        refusals.add(report.node_id, "foreign_node", f"it names {content.node_id}", max(1, len(content.readings)))
        return []
    return [Sent(report.node_id, report.received_at, reading) for reading in content.readings]


def _unique(sent: Sequence[Sent], refusals: Refusals) -> Iterator[Sent]:
    """Each number of a stream once; the first wins, as it does between two merges."""
    seen: dict[tuple[str, int], Sent] = {}
    for item in sent:
        first = seen.setdefault(item.key, item)
        if first is item:
            yield item
        elif first.reading != item.reading:
            refusals.add(item.node_id, "conflicting", f"{item.key[0]} has another reading number {item.key[1]}")


def _nodes_of(session: Session, lease_ids: Set[str]) -> dict[str, str]:
    """The node of each lease that billing knows."""
    lease = MeteredLeaseRow
    rows = session.execute(select(lease.lease_id, lease.node_id).where(lease.lease_id.in_(lease_ids)))
    return {row.lease_id: row.node_id for row in rows}


def _await_binding(session: Session, unknown: Sequence[str]) -> dict[str, str]:
    """Leases that were not known: hold off whoever makes them known, and look once more."""
    if not unknown:
        return {}
    session.execute(_LOCK_LEASES, {"ids": list(unknown)})
    return _nodes_of(session, set(unknown))


def _is_own(item: Sent, nodes: Mapping[str, str], unknown: Sequence[str], refusals: Refusals) -> bool:
    lease_id = item.reading.lease_id
    if nodes.get(lease_id) == item.node_id:
        return True
    if lease_id in nodes:
        refusals.add(item.node_id, "foreign_lease", f"{lease_id} is not with this node")
        return False
    if lease_id not in unknown:
        refusals.add(item.node_id, "unknown_lease", f"{lease_id} is one of too many that are not known")
        return False
    return True


def _fits(item: Sent, rows: Mapping[str, ReadingStreamRow], refusals: Refusals) -> bool:
    reading, stream = item.reading, rows.get(item.reading.stream_id)
    if stream is None:
        refusals.add(item.node_id, "too_many_streams", f"{reading.stream_id} of {reading.lease_id}")
    elif (stream.node_id, stream.lease_id) != (item.node_id, reading.lease_id):
        refusals.add(item.node_id, "foreign_stream", f"{reading.stream_id} belongs to another node or lease")
    elif stream.finished_at is not None and reading.sequence > stream.durable_sequence:
        refusals.add(item.node_id, "after_final", f"{reading.stream_id} ended at {stream.durable_sequence}")
    elif reading.sequence > stream.durable_sequence + AHEAD_MAX:
        refusals.add(item.node_id, "too_far_ahead", f"{reading.stream_id} is at {stream.durable_sequence}")
    else:
        return True
    return False
