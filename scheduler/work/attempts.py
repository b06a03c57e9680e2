"""Attempts: what agents say of them. The fence: only the newest attempt of a job, while it lives, changes the job."""

from collections.abc import Sequence
from datetime import datetime

import structlog
from sqlalchemy.orm import Session

from market.agent_api import AttemptStatus
from market.states import AttemptState, JobState, Reason, advance
from scheduler.tables import Attempt, Job
from scheduler.waking import changed
from scheduler.work.endings import Endings, is_spent
from scheduler.work.locked import Work, lock_attempts
from scheduler.work.retries import attempt_state, believed
from scheduler.work.stops import is_asked

log = structlog.get_logger(__name__)


def report(session: Session, node_id: str, statuses: Sequence[AttemptStatus], now: datetime) -> list[str]:
    """Take what one node says of its attempts; see report_many."""
    return report_many(session, [(node_id, statuses)], now)[0]


def report_many(
    session: Session, reports: Sequence[tuple[str, Sequence[AttemptStatus]]], now: datetime
) -> list[list[str]]:
    """Take the statuses of many nodes in one transaction; for each report the ids its agent need not repeat.

    Statuses of attempts that ended before, or that nobody knows, are accepted and change nothing of the job; those
    of another node's attempts are refused.
    """
    known = lock_attempts(session, {status.attempt_id for _, statuses in reports for status in statuses})
    endings = Endings(session, now)
    answers = []
    for node_id, statuses in reports:
        accepted = []
        for status in statuses:
            work = known.get(status.attempt_id)
            if work is not None and work.attempt.node_id != node_id:
                log.warning("foreign_attempt_refused", node_id=node_id, attempt_id=status.attempt_id)
                continue
            if work is not None:
                _take(session, endings, work, status, now)
            accepted.append(status.attempt_id)
        answers.append(accepted)
    endings.close()
    return answers


def _take(session: Session, endings: Endings, work: Work, status: AttemptStatus, now: datetime) -> None:
    """One status of an attempt of that node; said twice it is the same as said once."""
    job, attempt, lease = work
    if attempt.state.final:
        # A lost attempt that is over after all frees its GPUs before its lease runs out; its job went on without it.
        if status.state == "exited" and lease.released_at is None:
            endings.release(lease)
        return
    if status.state == "running":
        _started(session, job, attempt, now)
        return
    if status.exit_code is not None:
        # Its command ran, if too briefly to be told of in between.
        _started(session, job, attempt, now)
    reason = believed(status.reason, status.exit_code, attempt.stop_reason, spent=is_spent(job, lease))
    end = attempt_state(reason)
    endings.attempt(
        work, reason, state=end, ended_at=now, exit_code=status.exit_code, detail=status.detail, by_its_node=True
    )


def _started(session: Session, job: Job, attempt: Attempt, now: datetime) -> None:
    if attempt.state is AttemptState.RUNNING:
        return
    attempt.state = advance(attempt.state, AttemptState.RUNNING)
    attempt.reason, attempt.started_at = Reason.RUNNING, now
    if attempt.number != job.attempts_placed:
        return
    job.started_at = job.started_at or now
    if job.state is JobState.PLACED:
        job.state = advance(job.state, JobState.RUNNING)
        if not is_asked(attempt, now):
            job.reason, job.detail = Reason.RUNNING, ""
    changed(session, job)
