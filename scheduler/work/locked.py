"""A job with an attempt and its lease, loaded with the job's row locked: whoever changes one of the three holds it.

The order of locks everywhere: jobs by id, then nodes by id.
"""

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from infra.loading import Loading
from scheduler.tables import Attempt, Job, Lease

BATCH_MAX = 200
"""How many attempts a sweep takes into one transaction."""

_JOBS = Loading(
    {"job": Job}, "FROM jobs AS job WHERE job.id = ANY(cast(:jobs AS text[])) ORDER BY job.id FOR NO KEY UPDATE"
)
# All three are locked, so that all three are read as they are after any wait.
_WORKS = Loading(
    {"job": Job, "attempt": Attempt, "lease": Lease},
    """
    FROM attempts AS attempt
    JOIN jobs AS job ON job.id = attempt.job_id
    JOIN leases AS lease ON lease.attempt_id = attempt.id
    WHERE attempt.id = ANY(cast(:attempts AS text[]))
    ORDER BY job.id, attempt.id
    FOR NO KEY UPDATE
    """,
)


class Work(NamedTuple):
    """One attempt, the job it is for and the lease it has."""

    job: Job
    attempt: Attempt
    lease: Lease


def lock_jobs(session: Session, job_ids: Collection[str]) -> dict[str, Job]:
    """The rows of these jobs as they are now, locked in the order of their ids."""
    return {job.id: job for (job,) in _JOBS.rows(session, {"jobs": list(job_ids)})}


def lock_attempts(session: Session, attempt_ids: Collection[str]) -> dict[str, Work]:
    """These attempts, as they are once the rows of their jobs are locked; unknown ids are left out."""
    if not attempt_ids:
        return {}
    rows = _WORKS.rows(session, {"attempts": list(attempt_ids)})
    return {attempt.id: Work(job, attempt, lease) for job, attempt, lease in rows}


def newest_of(session: Session, job: Job) -> Work | None:
    """The newest attempt of a locked job; None before its first."""
    row = session.execute(
        select(Attempt, Lease)
        .join(Lease, Lease.attempt_id == Attempt.id)
        .where(Attempt.job_id == job.id, Attempt.number == job.attempts_placed)
        .execution_options(populate_existing=True)
    ).one_or_none()
    return Work(job, row[0], row[1]) if row is not None else None
