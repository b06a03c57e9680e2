"""Usage: merges signed reports into streams of readings, in any order and any number of times.

The portal has checked each report's signature. A reading counts only for a lease of the node that sent it; what is
refused is counted in reading_refusals.
"""

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from billing.metering import readings, streams
from billing.metering.parcels import SignedReport, runs_in
from billing.metering.refusals import Refusals
from billing.metering.runs import Run
from billing.metering.streams import Stream
from infra.outbox import wake
from infra.statements import Statement

AHEAD_MAX = 100_000
"""How far beyond its prefix a stream may reach; what comes later is sent again."""
UNKNOWN_LEASES_MAX = 500
"""Leases of one merge that billing has not heard of; readings of more are refused and come again."""

_DURABLE = Statement(
    "SELECT stream_id, node_id, durable_sequence FROM reading_streams WHERE stream_id = ANY(cast(:streams AS text[]))"
)
_NODES = Statement("SELECT lease_id, node_id FROM metered_leases WHERE lease_id = ANY(cast(:leases AS text[]))")
_WAITING = Statement(
    "SELECT FROM metered_leases WHERE lease_id = ANY(cast(:leases AS text[])) AND ended_at IS NOT NULL "
    "AND settled_at IS NULL LIMIT 1"
)
_LOCK_LEASES = Statement(
    "SELECT pg_advisory_xact_lock(hashtextextended(id, 0)) FROM unnest(cast(:ids AS text[])) AS id"
)


@dataclass(frozen=True, slots=True)
class MergeResult:
    """How many readings were new, known already, and refused by cause."""

    stored: int
    repeated: int
    refused: Mapping[str, int]


def merge(session: Session, messages: Sequence[SignedReport], now: datetime) -> MergeResult:
    """Store what is new and extend each stream's contiguous, hash-chained prefix; twice is as good as once."""
    refusals = Refusals()
    runs = list(runs_in(messages, refusals))
    leases = {run.lease_id for run in runs}
    nodes = _nodes_of(session, leases)
    unknown = sorted(leases - nodes.keys())[:UNKNOWN_LEASES_MAX]
    nodes |= _await_binding(session, unknown)
    own = [run for run in runs if _is_own(run, nodes, unknown, refusals)]
    opened = streams.open_streams(session, own, nodes.keys(), now)
    fitting = [run for run in own if _fits(run, opened.get(run.stream_id), refusals)]
    gathered = readings.Gathered()
    for run in sorted(fitting, key=lambda item: (item.stream_id, item.first)):
        gathered.take(opened[run.stream_id], run, refusals, rated=run.lease_id in nodes)
    stored = readings.store_fresh(session, gathered.fresh)
    inserted, same = readings.store_others(session, gathered.others, refusals)
    touched = {run.stream_id: opened[run.stream_id] for run in fitting}
    readings.extend(session, [stream for stream in touched.values() if stream.lease_id in nodes], refusals)
    ended = [stream.lease_id for stream in touched.values() if stream.just_ended]
    # Of a lease that lives the bill waits for its end; as a rule its last reading is faster. Where both come at once
    # and neither sees the other, the beat's capture bills it.
    if ended and _WAITING.rows(session, {"leases": ended}):
        wake(session, "billing.capture")
    streams.save(session, touched.values(), now)
    refusals.save(session, now)
    return MergeResult(stored + inserted, same, refusals.by_cause())


def adopt(session: Session, lease_ids: Collection[str], now: datetime) -> None:
    """Leases have just become known: rate the readings that were faster, drop those of nodes they are not with."""
    early = streams.of_leases(session, lease_ids)
    if not early:
        return
    refusals = Refusals()
    nodes = _nodes_of(session, {stream.lease_id for stream in early})
    own: list[Stream] = []
    for stream in early:
        if stream.node_id == nodes[stream.lease_id]:
            own.append(stream)
        else:
            count = streams.discard(session, stream)
            refusals.add(stream.node_id, "foreign_lease", f"{stream.lease_id} is not with this node", count)
    readings.extend(session, own, refusals)
    streams.save(session, own, now)
    refusals.save(session, now)


def announce(session: Session, lease_ids: Collection[str]) -> None:
    """Called before leases are made known: waits for merges that saw them unknown, so that `adopt` finds theirs."""
    _LOCK_LEASES.rows(session, {"ids": sorted(lease_ids)})


def durable_through(session: Session, wanted: Mapping[str, Collection[str]]) -> dict[str, dict[str, int]]:
    """By node and stream, the last reading that is safe, of the streams that each node asks about and that are its."""
    found: dict[str, dict[str, int]] = {node_id: {} for node_id in wanted}
    streams = [stream_id for asked in wanted.values() for stream_id in asked]
    for row in _DURABLE.rows(session, {"streams": streams}) if streams else ():
        if row.node_id in found:
            found[row.node_id][row.stream_id] = row.durable_sequence
    return found


def _fits(run: Run, stream: Stream | None, refusals: Refusals) -> bool:
    if stream is None:
        refusals.add(run.node_id, "too_many_streams", f"{run.stream_id} of {run.lease_id}", run.count)
        return False
    reached = stream.prefix.sequence
    if (stream.node_id, stream.lease_id) != (run.node_id, run.lease_id):
        detail = f"{run.stream_id} belongs to another node or lease"
        refusals.add(run.node_id, "foreign_stream", detail, run.count)
    elif stream.finished and run.last > reached:
        refusals.add(run.node_id, "after_final", f"{run.stream_id} ended at {reached}", run.count)
    elif run.last > reached + AHEAD_MAX:
        refusals.add(run.node_id, "too_far_ahead", f"{run.stream_id} is at {reached}", run.count)
    else:
        return True
    return False


def _nodes_of(session: Session, lease_ids: Set[str]) -> dict[str, str]:
    """The node of each lease that billing knows."""
    return {row.lease_id: row.node_id for row in _NODES.rows(session, {"leases": list(lease_ids)})}


def _await_binding(session: Session, unknown: Sequence[str]) -> dict[str, str]:
    """Leases that were not known: hold off whoever makes them known, and look once more."""
    if not unknown:
        return {}
    _LOCK_LEASES.rows(session, {"ids": list(unknown)})
    return _nodes_of(session, set(unknown))


def _is_own(run: Run, nodes: Mapping[str, str], unknown: Sequence[str], refusals: Refusals) -> bool:
    if nodes.get(run.lease_id) == run.node_id:
        return True
    if run.lease_id in nodes:
        refusals.add(run.node_id, "foreign_lease", f"{run.lease_id} is not with this node", run.count)
        return False
    if run.lease_id not in unknown:
        detail = f"{run.lease_id} is one of too many that are not known"
        refusals.add(run.node_id, "unknown_lease", detail, run.count)
        return False
    return True
