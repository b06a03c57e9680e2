"""Orders: what the node that holds an attempt needs to start it."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from market.errors import NotFound
from market.specs import JobSpec, stored_spec
from scheduler.tables import LIVE, Attempt, Job
from scheduler.work.endings import remaining_ms


@dataclass(frozen=True, slots=True)
class AttemptStart:
    """run_for_seconds: what is left of the job's longest duration, counted by the agent from the command's start."""

    attempt_id: str
    job_id: str
    organization_id: str
    spec: JobSpec
    workdir_sha256: str | None
    attempt_number: int
    run_for_seconds: int
    trace: str | None


def order(session: Session, node_id: str, attempt_id: str) -> AttemptStart:
    """Only for the node that holds the attempt, and only while it lives; raises NotFound otherwise."""
    row = session.execute(
        select(Attempt, Job)
        .join(Job, Job.id == Attempt.job_id)
        .where(Attempt.id == attempt_id, Attempt.node_id == node_id, Attempt.state.in_(LIVE))
    ).one_or_none()
    if row is None:
        raise NotFound(f"this node holds no live attempt {attempt_id}")
    attempt, job = row
    return AttemptStart(
        attempt_id=attempt.id,
        job_id=job.id,
        organization_id=job.organization_id,
        spec=stored_spec(job.spec),
        workdir_sha256=job.workdir_sha256,
        attempt_number=attempt.number,
        run_for_seconds=max(1, remaining_ms(job) // 1000),
        trace=job.trace,
    )
