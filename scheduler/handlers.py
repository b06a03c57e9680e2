"""What the scheduler does when billing has spoken. Each handler locks the job and judges by its rows."""

from datetime import datetime

from sqlalchemy.orm import Session

from infra.outbox import subscribe, wake
from infra.settings import settings
from market.messages import FundingRefused, JobFunded
from market.states import JobState
from scheduler.tables import Job
from scheduler.waking import PLACE, changed
from scheduler.work import leases, stops
from scheduler.work.endings import Endings
from scheduler.work.locked import Work, lock_jobs, newest_of


@subscribe(JobFunded, "scheduler.extend_or_queue")
def job_funded(session: Session, message: JobFunded, now: datetime) -> None:
    """Hold the lease for longer, or let a job that waits for money be placed."""
    job = lock_jobs(session, [message.job_id]).get(message.job_id)
    if job is None:
        return
    if message.lease_id is not None and message.until is not None:
        _extend(session, job, message.lease_id, message.until, now)
    elif message.seconds is not None and job.state is JobState.QUEUED and job.funded_seconds is None:
        job.funded_seconds = message.seconds
        changed(session, job)
        wake(session, PLACE)


@subscribe(FundingRefused, "scheduler.stop_unfunded")
def funding_refused(session: Session, message: FundingRefused, now: datetime) -> None:
    """Plan the stop of a lease that nothing more is held for, or end the job that waited for money."""
    job = lock_jobs(session, [message.job_id]).get(message.job_id)
    if job is None:
        return
    if message.lease_id is None:
        if job.state is JobState.QUEUED and job.funded_seconds is None:
            endings = Endings(session, now)
            endings.job(job, JobState.STOPPED, message.reason, detail=message.detail)
            endings.close()
        return
    work = _live(session, job, message.lease_id)
    if work is None:
        return
    if message.until is not None:
        if message.until < work.lease.held_until:
            return  # It speaks of a window before the one that is funded by now.
        leases.extend(session, work.lease, message.until)
    stops.plan(
        session,
        work,
        message.reason,
        grace_seconds=settings().stop_grace_seconds,
        now=now,
        detail=message.detail,
    )


def _extend(session: Session, job: Job, lease_id: str, until: datetime, now: datetime) -> None:
    work = _live(session, job, lease_id)
    if work is None or stops.is_stuck(work, now):
        return
    if leases.extend(session, work.lease, until):
        stops.call_off(session, work, now)


def _live(session: Session, job: Job, lease_id: str) -> Work | None:
    """The newest attempt of a locked job, if it lives and that is its lease."""
    work = newest_of(session, job)
    if work is None or work.lease.id != lease_id or work.attempt.state.final:
        return None
    return work
