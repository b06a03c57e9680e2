"""Reconciling the scheduler's rows: what must agree is compared each minute, and mended by the code that writes it.

It finds nothing unless a bug, a restored backup or a hand was at work: each finding is an error to read.
"""

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from market.states import AttemptState, JobState
from scheduler.tables import LIVE, Attempt, Job, Lease
from scheduler.work import leases
from scheduler.work.endings import Endings
from scheduler.work.locked import lock_attempts

FOUND_MAX = 100
_ENDED = (AttemptState.SUCCEEDED, AttemptState.FAILED, AttemptState.STOPPED)
_WITH_ATTEMPT = (JobState.PLACED, JobState.RUNNING, JobState.STOPPING)

_MISCOUNTED = text(
    """
    SELECT n.id FROM nodes n LEFT JOIN (
        SELECT node_id, sum(cpu_milli) AS cpu, sum(memory_bytes) AS memory, sum(disk_bytes) AS disk
        FROM leases WHERE released_at IS NULL GROUP BY node_id) l ON l.node_id = n.id
    WHERE n.cpu_free_milli <> greatest(0, n.cpu_total_milli - coalesce(l.cpu, 0))
       OR n.memory_free_bytes <> greatest(0, n.memory_total_bytes - coalesce(l.memory, 0))
       OR n.disk_free_bytes <> greatest(0, n.disk_total_bytes - coalesce(l.disk, 0))
    ORDER BY n.id LIMIT :found_max
    """
)
_FREE_GPUS = text(
    """
    UPDATE lease_gpus g SET released_at = l.released_at FROM leases l
    WHERE l.id = g.lease_id AND g.released_at IS NULL AND l.released_at IS NOT NULL RETURNING g.lease_id
    """
)


def reconcile(session: Session, now: datetime) -> list[str]:
    """Mend what disagrees; returns what was found, in words. A lost attempt's lease is right to go on holding."""
    return [*_leases(session, now), *_gpus(session), *_jobs(session, now), *_counters(session)]


def _leases(session: Session, now: datetime) -> Iterator[str]:
    """An attempt that has ended on its node holds nothing any more."""
    held = (
        select(Lease.attempt_id)
        .join(Attempt, Attempt.id == Lease.attempt_id)
        .where(Lease.released_at.is_(None), Attempt.state.in_(_ENDED))
        .limit(FOUND_MAX)
    )
    endings = Endings(session, now)
    for work in lock_attempts(session, session.scalars(held).all()).values():
        if work.lease.released_at is None and work.attempt.state in _ENDED:
            endings.release(work.lease)
            yield f"{work.lease.id} was held although {work.attempt.id} had ended: released"
    endings.close()


def _gpus(session: Session) -> Iterator[str]:
    """A released lease holds no GPU."""
    for lease_id in sorted(set(session.scalars(_FREE_GPUS))):
        yield f"a GPU of {lease_id} was held although the lease was released: released"


def _jobs(session: Session, now: datetime) -> Iterator[str]:
    """A job that is placed, running or stopping has a newest attempt that lives; one that waits has none."""
    ended = (
        select(Attempt.id)
        .join(Job, (Job.id == Attempt.job_id) & (Job.attempts_placed == Attempt.number))
        .where(Job.state.in_(_WITH_ATTEMPT), Attempt.state.not_in(LIVE))
        .limit(FOUND_MAX)
    )
    endings = Endings(session, now)
    for work in lock_attempts(session, session.scalars(ended).all()).values():
        if work.job.state in _WITH_ATTEMPT and work.attempt.state.final:
            found = f"{work.job.id} was {work.job.state} although {work.attempt.id} had ended"
            endings.move_on(work.job, work.attempt)
            yield f"{found}: it is {work.job.state} now"
    endings.close()
    living = (
        select(Attempt.job_id, Attempt.id)
        .join(Job, Job.id == Attempt.job_id)
        .where(Job.state.not_in(_WITH_ATTEMPT), Attempt.state.in_(LIVE))
        .limit(FOUND_MAX)
    )
    for row in session.execute(living):
        yield f"{row.id} lives although {row.job_id} has no attempt now; its lease will run out"


def _counters(session: Session) -> Iterator[str]:
    """What is free of a node is what its leases leave."""
    wrong = session.scalars(_MISCOUNTED, {"found_max": FOUND_MAX}).all()
    # They are read again under the rows' locks: a lease may have come in between.
    nodes = leases.lock_nodes(session, wrong)
    before = {node.id: (node.cpu_free_milli, node.memory_free_bytes, node.disk_free_bytes) for node in nodes.values()}
    leases.recount(session, nodes)
    session.flush()
    for node in nodes.values():
        if before[node.id] != (node.cpu_free_milli, node.memory_free_bytes, node.disk_free_bytes):
            yield f"{node.id} counted {before[node.id]} free: counted anew"
