"""The sweep: what time alone decides. Silent nodes are lost, their jobs recover, leases that ran out end."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Select, select, text
from sqlalchemy.orm import Session

from infra.settings import Settings
from market.states import AttemptState, Reason
from scheduler.tables import LIVE, Attempt, Lease, Node, NodeState, SweepPulse
from scheduler.upkeep import listening
from scheduler.upkeep.silence import Pulse, judge
from scheduler.work.endings import Endings, is_spent
from scheduler.work.locked import BATCH_MAX, lock_attempts
from scheduler.work.retries import attempt_state, expired

log = structlog.get_logger(__name__)
SWEEP_LOCK = 0x67726964_73776570
"""The advisory lock that lets one sweep judge at a time ("gridswep")."""
GONE_AFTER = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Limits:
    """The times a sweep goes by."""

    silent_after: timedelta
    brake_share: float
    release_after: timedelta

    @classmethod
    def of(cls, config: Settings) -> "Limits":
        """release_after: how long after its end a lease still holds, for the node may still be stopping its work."""
        return cls(
            silent_after=timedelta(seconds=config.silent_after_seconds),
            brake_share=config.lost_brake_share,
            release_after=timedelta(seconds=config.stop_grace_seconds + config.lease_margin_seconds),
        )


def mark_lost(session: Session, now: datetime, limits: Limits) -> list[str]:
    """Mark silent nodes as lost unless the brake holds, and long lost ones as gone; returns the newly lost."""
    session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": SWEEP_LOCK})
    online = session.execute(select(Node.id, Node.last_seen_at).where(Node.state == NodeState.ONLINE))
    last_seen = {row.id: row.last_seen_at for row in online}
    row = session.get(SweepPulse, 1, populate_existing=True)
    pulse = Pulse(row.swept_at, row.resumed_at, row.braked_since) if row else None
    verdict = judge(
        last_seen,
        pulse,
        now,
        listening.last(session),
        silent_after=limits.silent_after,
        brake_share=limits.brake_share,
    )
    if verdict.pulse.braked_since is not None and (pulse is None or pulse.braked_since is None):
        log.warning("mass_loss_brake", online=len(last_seen))
    fresh = verdict.pulse
    session.merge(
        SweepPulse(id=1, swept_at=fresh.swept_at, resumed_at=fresh.resumed_at, braked_since=fresh.braked_since)
    )
    lost = _still_silent(session, sorted(verdict.lost), last_seen)
    for node in lost:
        node.state, node.lost_at = NodeState.LOST, now
        node.revision += 1
        log.warning("node_lost", node_id=node.id, last_seen_at=node.last_seen_at.isoformat())
    for node in _unlocked(session, select(Node).where(Node.state == NodeState.LOST, Node.lost_at < now - GONE_AFTER)):
        node.state = NodeState.GONE
        node.revision += 1
    session.flush()
    return [node.id for node in lost]


def end_lost(session: Session, now: datetime, limit: int = BATCH_MAX) -> int:
    """End the live attempts of lost nodes; their jobs get a new attempt or end, their leases hold on.

    Returns how many were found; no time after a node was last seen counts.
    """
    found = session.scalars(
        select(Attempt.id)
        .join(Node, Node.id == Attempt.node_id)
        .where(Attempt.state.in_(LIVE), Node.state != NodeState.ONLINE)
        .order_by(Attempt.id)
        .limit(limit)
    ).all()
    works = lock_attempts(session, found)
    nodes = session.scalars(
        select(Node)
        .where(Node.id.in_({work.attempt.node_id for work in works.values()}), Node.state != NodeState.ONLINE)
        .execution_options(populate_existing=True)
    )
    last_seen = {node.id: node.last_seen_at for node in nodes}
    endings = Endings(session, now)
    for work in works.values():
        seen = last_seen.get(work.attempt.node_id)
        if seen is not None and not work.attempt.state.final:
            detail = "its node was not heard any more"
            reason = Reason.FAILED_PROVIDER_LOST
            endings.attempt(work, reason, state=AttemptState.LOST, ended_at=seen, detail=detail)
    endings.close()
    return len(found)


def end_expired(session: Session, now: datetime, limits: Limits, limit: int = BATCH_MAX) -> int:
    """Release leases that ran out a while ago, and end the attempts that still live on them; returns how many."""
    found = session.scalars(
        select(Lease.attempt_id)
        .where(Lease.released_at.is_(None), Lease.held_until < now - limits.release_after)
        .order_by(Lease.held_until)
        .limit(limit)
    ).all()
    endings = Endings(session, now)
    for work in lock_attempts(session, found).values():
        job, attempt, lease = work
        # Somebody may have extended or released it while its job was waited for.
        if lease.released_at is not None or lease.held_until >= now - limits.release_after:
            continue
        if attempt.state.final:
            endings.release(lease)
            continue
        reason = expired(attempt.stop_reason, spent=is_spent(job, lease))
        endings.attempt(
            work,
            reason,
            state=attempt_state(reason),
            ended_at=lease.held_until,
            detail="its lease ran out and its node did not say how it ended",
        )
    endings.close()
    return len(found)


def _still_silent(session: Session, node_ids: Sequence[str], last_seen: dict[str, datetime]) -> list[Node]:
    """Of these nodes, locked, those that were not heard since they were judged."""
    nodes = _unlocked(session, select(Node).where(Node.id.in_(node_ids), Node.state == NodeState.ONLINE))
    return [node for node in nodes if node.last_seen_at == last_seen[node.id]]


def _unlocked(session: Session, query: Select[Node]) -> list[Node]:
    """Lock what nobody else holds: a node that is being heard or leased just now can wait for the next sweep."""
    query = query.order_by(Node.id).limit(BATCH_MAX).with_for_update(skip_locked=True, key_share=True)
    return list(session.scalars(query.execution_options(populate_existing=True)))
