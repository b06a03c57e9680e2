"""Who is told of a change: the clients that wait for a job or a node, and the placing round."""

from sqlalchemy.orm import Session

from infra.wakeups import after_commit
from scheduler.tables import Job

PLACE = "scheduler.place"
"""The task that places what is queued; asked for whenever there is more to place, or more to place it on."""
VERIFY_PROOFS = "scheduler.verify_proofs"
"""The task that judges answered challenges."""


def changed(session: Session, job: Job) -> None:
    """Count the change (the job's ETag) and wake those who follow the job or its organization."""
    job.version += 1
    after_commit(session, f"job:{job.id}", f"organization:{job.organization_id}")
