"""Stopping: a live attempt is asked to end, now or just before its money runs out."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from market.states import JobState, Reason, advance
from scheduler.tables import LIVE, Attempt, Job
from scheduler.waking import changed
from scheduler.work import leases
from scheduler.work.locked import BATCH_MAX, Work, lock_attempts

LEAD_SHARE = 10
"""A planned stop leaves at most one part in ten of the lease for the job to end gracefully."""
STOP_PATIENCE = timedelta(minutes=2)
START_PATIENCE = timedelta(minutes=15)


def ask(session: Session, wishes: Iterable[tuple[Work, Reason]], now: datetime) -> None:
    """Have live attempts of locked jobs stopped now; what is being stopped already keeps its first reason."""
    nodes = set()
    for (job, attempt, _), reason in wishes:
        if attempt.state.final or job.state is JobState.STOPPING:
            continue
        attempt.stop_reason, attempt.stop_at = reason, now
        job.state = advance(job.state, JobState.STOPPING)
        job.reason = Reason.STOPPING_BY_USER if reason is Reason.STOPPED_BY_USER else reason
        changed(session, job)
        nodes.add(attempt.node_id)
    if nodes:
        leases.desired_changed(session, leases.lock_nodes(session, nodes).values())


def plan(session: Session, work: Work, reason: Reason, *, grace_seconds: int, now: datetime, detail: str = "") -> None:
    """Have a live attempt stopped as its lease runs out, early enough to end gracefully: what is paid is used.

    detail: why, where the reason does not say it all.
    """
    job, attempt, lease = work
    if attempt.state.final or job.state is JobState.STOPPING or is_asked(attempt, now):
        return
    lead = min(timedelta(seconds=grace_seconds), (lease.held_until - lease.granted_at) / LEAD_SHARE)
    stop_at = lease.held_until - lead
    job.detail = f"its money ends at {lease.held_until:%Y-%m-%d %H:%M:%S} UTC: {detail or reason}"
    if stop_at <= now:
        ask(session, [(work, reason)], now)
        return
    attempt.stop_reason, attempt.stop_at = reason, stop_at
    changed(session, job)


def call_off(session: Session, work: Work, now: datetime) -> None:
    """Forget a planned stop whose time has not come: there is money for more."""
    job, attempt, _ = work
    if attempt.stop_at is None or attempt.stop_at <= now:
        return
    attempt.stop_reason = attempt.stop_at = None
    job.detail = ""
    changed(session, job)


def interrupt(session: Session, work: Work, words: str, now: datetime) -> None:
    """Have a live attempt of a locked job make room for another: as any stop, but that its job is tried again. The
    caller holds its node's row, and tells it."""
    job, attempt, _ = work
    attempt.stop_reason, attempt.stop_at = Reason.STOPPED_SPOT_RECLAIMED, now
    job.reason, job.detail = Reason.STOPPING_SPOT_RECLAIMED, words
    changed(session, job)


def is_asked(attempt: Attempt, now: datetime) -> bool:
    """Whether an attempt has been told to stop, its planned time come included."""
    return attempt.stop_at is not None and attempt.stop_at <= now


def is_stuck(work: Work, now: datetime) -> bool:
    """Whether a live attempt has not started or not stopped for so long that its lease had better run out."""
    _, attempt, lease = work
    if attempt.stop_at is not None and is_asked(attempt, now):
        return now - attempt.stop_at > STOP_PATIENCE
    return attempt.started_at is None and now - lease.granted_at > START_PATIENCE


def ask_due(session: Session, now: datetime, limit: int = BATCH_MAX) -> int:
    """Ask for the planned stops whose time has come; returns how many there were."""
    due = session.scalars(
        select(Attempt.id)
        .join(Job, Job.id == Attempt.job_id)
        .where(
            Attempt.stop_at <= now,
            Attempt.state.in_(LIVE),
            Job.state != JobState.STOPPING,
            Attempt.stop_reason != Reason.STOPPED_SPOT_RECLAIMED,
        )
        .order_by(Attempt.stop_at)
        .limit(limit)
    ).all()
    works = lock_attempts(session, due).values()
    ask(session, [(work, work.attempt.stop_reason) for work in works if work.attempt.stop_reason is not None], now)
    return len(due)
