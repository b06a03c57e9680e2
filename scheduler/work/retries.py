"""What an attempt's end means: which reason is believed, and whether its job ends or gets a new attempt. Pure."""

from collections.abc import Collection
from dataclasses import dataclass

from market.states import AttemptState, JobState, Reason

ASKED_FOR = frozenset(
    {
        Reason.STOPPED_BY_USER,
        Reason.STOPPED_BALANCE_EXHAUSTED,
        Reason.STOPPED_BUDGET_EXHAUSTED,
        Reason.STOPPED_SPOT_RECLAIMED,
    }
)
"""Stops that only the market asks for: an agent cannot invent one."""
_ENDS = frozenset(reason for reason in Reason if reason.startswith(("succeeded", "failed:", "stopped:")))
_PROVIDERS_FAULT = frozenset({Reason.FAILED_PROVIDER_LOST, Reason.STOPPED_LEASE_EXPIRED})


@dataclass(frozen=True, slots=True)
class Situation:
    """A job as its newest attempt ends. stopping: what the job is being stopped for, if it is. attempts_placed: but
    those that made room for others."""

    reason: Reason
    stopping: Reason | None
    retry_on: Collection[str]
    attempts_placed: int
    max_attempts: int
    remaining_seconds: int


@dataclass(frozen=True, slots=True)
class Next:
    """Where the job goes; QUEUED is a new attempt."""

    state: JobState
    reason: Reason


def believed(claimed: Reason | None, exit_code: int | None, asked: Reason | None, *, spent: bool) -> Reason:
    """The reason that is written for an attempt whose agent says it has exited.

    asked: what it was asked to stop for, if it was. spent: its lease could not have been extended any more, because
    the job's longest duration was reached.
    """
    if claimed not in _ENDS or (claimed is Reason.SUCCEEDED and exit_code not in (None, 0)):
        return Reason.SUCCEEDED if exit_code == 0 else Reason.FAILED_EXIT_CODE
    if claimed in ASKED_FOR:
        return asked or Reason.FAILED_PROVIDER_LOST
    if claimed is Reason.STOPPED_LEASE_EXPIRED:
        return expired(asked, spent=spent)
    return claimed


def expired(asked: Reason | None, *, spent: bool) -> Reason:
    """Why a lease ran out."""
    return asked or (Reason.STOPPED_MAX_DURATION if spent else Reason.STOPPED_LEASE_EXPIRED)


def attempt_state(reason: Reason) -> AttemptState:
    """The final state of an attempt that ended for that reason with its node still there."""
    if reason is Reason.SUCCEEDED:
        return AttemptState.SUCCEEDED
    return AttemptState.STOPPED if reason.startswith("stopped:") else AttemptState.FAILED


def next_step(now: Situation) -> Next:
    """Where a job goes when its newest attempt has ended.

    Spot work that was told to make room is tried again, however often. A lease that ran out although the job had time
    and money left is the market's or the provider's fault, so it is tried again like a lost provider.
    """
    fault = now.reason in _PROVIDERS_FAULT
    if now.stopping is not None and fault:
        return Next(JobState.STOPPED, now.stopping)
    if now.reason is Reason.STOPPED_SPOT_RECLAIMED and now.stopping is None and now.remaining_seconds > 0:
        return Next(JobState.QUEUED, Reason.RECOVERING_SPOT_RECLAIMED)
    if now.stopping is None and _may_retry(now, "provider_lost" if fault else "failure"):
        return Next(JobState.QUEUED, Reason.RECOVERING_PROVIDER_LOST if fault else Reason.RECOVERING_RETRY)
    if (fault or now.reason is Reason.STOPPED_SPOT_RECLAIMED) and now.remaining_seconds <= 0:
        return Next(JobState.STOPPED, Reason.STOPPED_MAX_DURATION)
    return Next(JobState(attempt_state(now.reason)), now.reason)


def _may_retry(now: Situation, kind: str) -> bool:
    ended_badly = now.reason in _PROVIDERS_FAULT or now.reason.startswith("failed:")
    has_more = now.attempts_placed < now.max_attempts and now.remaining_seconds > 0
    return ended_badly and kind in now.retry_on and has_more
