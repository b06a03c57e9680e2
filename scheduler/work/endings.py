"""How attempts and jobs end: the one place where their final states are written, each exactly once.

Callers hold the job's row; the rows of nodes are locked here, after those of all the jobs concerned.
"""

from datetime import datetime

from sqlalchemy.orm import Session

from infra.bulk import write_changes
from infra.outbox import publish, wake
from infra.telemetry import ATTEMPTS_ENDED, JOBS_ENDED, count
from infra.wakeups import after_commit
from market.clock import milliseconds_between
from market.messages import AttemptEnded, JobEnded, JobRequeued, Message
from market.states import AttemptState, JobState, Reason, advance
from scheduler.tables import Attempt, Job, Lease
from scheduler.waking import PLACE, changed
from scheduler.work import leases, spot
from scheduler.work.locked import Work
from scheduler.work.retries import Situation, next_step
from scheduler.work.spot import is_spot

DETAIL_MAX_CHARACTERS = 500


_MONEY = (Reason.STOPPED_BALANCE_EXHAUSTED, Reason.STOPPED_BUDGET_EXHAUSTED)
SOMEBODY_WAITS = "EXISTS (SELECT FROM jobs WHERE state = 'queued' AND funded_seconds IS NOT NULL)"


class Endings:
    """Ends gathered in one transaction: states change at once, leases and messages when `close` is called."""

    def __init__(self, session: Session, now: datetime) -> None:
        self._session, self._now = session, now
        self._released: list[Lease] = []
        self._nodes: set[str] = set()
        self._unaware: set[str] = set()
        self._messages: list[Message] = []
        self._spot: list[str] = []

    def attempt(
        self,
        work: Work,
        reason: Reason,
        *,
        state: AttemptState,
        ended_at: datetime,
        exit_code: int | None = None,
        detail: str = "",
        by_its_node: bool = False,
    ) -> None:
        """End an attempt, and move its job on if it is the job's newest. A lost attempt's lease stays held: its node
        may still be computing. by_its_node: the node said so itself and need not be woken to hear it."""
        job, attempt, lease = work
        ended_at = max(lease.granted_at, min(ended_at, lease.held_until))
        attempt.state = advance(attempt.state, state)
        attempt.reason, attempt.exit_code = reason, exit_code
        attempt.detail = detail[:DETAIL_MAX_CHARACTERS]
        attempt.ended_at = ended_at
        job.used_ms += milliseconds_between(lease.granted_at, ended_at)
        self._nodes.add(attempt.node_id)
        if not by_its_node:
            self._unaware.add(attempt.node_id)
        if state is not AttemptState.LOST:
            self._released.append(lease)
        if is_spot(job):
            self._spot.append(attempt.id)
        self._messages.append(
            AttemptEnded(
                trace=job.trace,
                job_id=job.id,
                attempt_id=attempt.id,
                lease_id=lease.id,
                ended_at=ended_at,
                reason=reason,
            )
        )
        count(self._session, ATTEMPTS_ENDED.labels(state.value, reason.value))
        if attempt.number == job.attempts_placed:
            self.move_on(job, attempt)

    def job(self, job: Job, state: JobState, reason: Reason, *, exit_code: int | None = None, detail: str = "") -> None:
        """End a job that has no live attempt."""
        job.state = advance(job.state, state)
        job.reason, job.exit_code, job.detail = reason, exit_code, detail[:DETAIL_MAX_CHARACTERS]
        job.funded_seconds = None
        job.ended_at = self._now
        count(self._session, JOBS_ENDED.labels(state.value, reason.value))
        changed(self._session, job)
        after_commit(self._session, f"over:{job.id}")
        self._messages.append(
            JobEnded(
                trace=job.trace,
                job_id=job.id,
                organization_id=job.organization_id,
                state=state,
                reason=reason,
                attempts_placed=job.attempts_placed,
            )
        )

    def release(self, lease: Lease) -> None:
        """Give back what the lease of an attempt that ended before still holds."""
        self._nodes.add(lease.node_id)
        self._unaware.add(lease.node_id)
        self._released.append(lease)

    def close(self) -> None:
        """Release the leases, tell the agents, publish the messages, and have the next round see what is free."""
        # What is read here rests on nothing that is written here: all of it goes in one statement.
        with self._session.no_autoflush:
            if self._nodes:
                nodes = leases.lock_nodes(self._session, self._nodes)
                leases.release(self._session, nodes, self._released, self._now)
                leases.desired_changed(self._session, [nodes[node_id] for node_id in self._unaware])
            if self._nodes:
                # A job that is submitted just now asks for a round itself.
                wake(self._session, PLACE, where=SOMEBODY_WAITS)
            write_changes(self._session)
            spot.end(self._session, self._spot, self._now)
            publish(self._session, *self._messages)

    def move_on(self, job: Job, attempt: Attempt) -> None:
        """Take a job whose newest attempt has ended to where that leads: its end, or another attempt."""
        remaining_seconds = remaining_ms(job) // 1000
        stopping = job.state is JobState.STOPPING
        following = next_step(
            Situation(
                reason=attempt.reason,
                stopping=attempt.stop_reason if stopping else None,
                retry_on=job.spec["retry"]["on"],
                attempts_placed=job.attempts_placed - (spot.reclaimed(self._session, job.id) if is_spot(job) else 0),
                max_attempts=job.spec["retry"]["max_attempts"],
                remaining_seconds=remaining_seconds,
            )
        )
        if following.state is not JobState.QUEUED:
            exit_code, detail = attempt.exit_code, attempt.detail
            if attempt.stop_reason in _MONEY:
                # What the customer was told when the stop was planned.
                detail = detail or job.detail
            self.job(job, following.state, following.reason, exit_code=exit_code, detail=detail)
            return
        job.state = advance(job.state, JobState.QUEUED)
        job.reason = following.reason
        if following.reason is not Reason.RECOVERING_SPOT_RECLAIMED:
            # Otherwise it says already what it made room for.
            job.detail = f"attempt {attempt.number} ended: {attempt.reason}"
        job.funded_seconds = None
        changed(self._session, job)
        self._messages.append(
            JobRequeued(
                trace=job.trace,
                job_id=job.id,
                organization_id=job.organization_id,
                attempts_placed=job.attempts_placed,
                remaining_seconds=remaining_seconds,
            )
        )


def remaining_ms(job: Job) -> int:
    """What is left of the job's longest duration after the attempts that ended."""
    return max(0, job.max_duration_seconds * 1000 - job.used_ms)


def is_spent(job: Job, lease: Lease) -> bool:
    """Whether a live lease reaches the end of the job's longest duration (in whole seconds, as money is held), so
    that nothing extends it any more."""
    return milliseconds_between(lease.granted_at, lease.held_until) >= remaining_ms(job) // 1000 * 1000
