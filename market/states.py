"""States of jobs and attempts: one table each, and the closed list of reasons."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

from market.errors import IllegalTransition


class JobState(StrEnum):
    QUEUED = "queued"
    PLACED = "placed"
    RUNNING = "running"
    STOPPING = "stopping"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def final(self) -> bool:
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.STOPPED)


class AttemptState(StrEnum):
    PLACED = "placed"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    LOST = "lost"

    @property
    def final(self) -> bool:
        return self not in (AttemptState.PLACED, AttemptState.RUNNING)


class Reason(StrEnum):
    """Why a job or an attempt is in its state; nothing else is ever written there."""

    QUEUED_FOR_PLACEMENT = "queued:for_placement"
    QUEUED_FOR_CAPACITY = "queued:for_capacity"
    QUEUED_FOR_FUNDS = "queued:for_funds"
    NO_OFFER = "queued:no_offer"
    RECOVERING_PROVIDER_LOST = "recovering:provider_lost"
    RECOVERING_RETRY = "recovering:retry"
    RECOVERING_SPOT_RECLAIMED = "recovering:spot_reclaimed"
    PLACED = "placed"
    RUNNING = "running"
    STOPPING_BY_USER = "stopping:by_user"
    STOPPING_SPOT_RECLAIMED = "stopping:spot_reclaimed"
    SUCCEEDED = "succeeded"
    FAILED_EXIT_CODE = "failed:exit_code"
    FAILED_SIGNAL = "failed:signal"
    FAILED_OUT_OF_MEMORY = "failed:out_of_memory"
    FAILED_OUT_OF_DISK = "failed:out_of_disk"
    FAILED_START = "failed:start"
    FAILED_WORKDIR = "failed:workdir"
    FAILED_OUTPUTS = "failed:outputs"
    FAILED_PROVIDER_LOST = "failed:provider_lost"
    STOPPED_BY_USER = "stopped:by_user"
    STOPPED_MAX_DURATION = "stopped:max_duration"
    STOPPED_BALANCE_EXHAUSTED = "stopped:balance_exhausted"
    STOPPED_BUDGET_EXHAUSTED = "stopped:budget_exhausted"
    STOPPED_LEASE_EXPIRED = "stopped:lease_expired"
    STOPPED_SPOT_RECLAIMED = "stopped:spot_reclaimed"


JOB_TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.PLACED, JobState.STOPPED, JobState.FAILED}),
    JobState.PLACED: frozenset(
        {
            JobState.RUNNING,
            JobState.QUEUED,
            JobState.STOPPING,
            JobState.SUCCEEDED,
            JobState.FAILED,
            JobState.STOPPED,
        }
    ),
    JobState.RUNNING: frozenset(
        {JobState.QUEUED, JobState.STOPPING, JobState.SUCCEEDED, JobState.FAILED, JobState.STOPPED}
    ),
    JobState.STOPPING: frozenset({JobState.STOPPED, JobState.SUCCEEDED, JobState.FAILED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.STOPPED: frozenset(),
}

ATTEMPT_TRANSITIONS: Mapping[AttemptState, frozenset[AttemptState]] = {
    AttemptState.PLACED: frozenset(set(AttemptState) - {AttemptState.PLACED}),
    AttemptState.RUNNING: frozenset(set(AttemptState) - {AttemptState.PLACED, AttemptState.RUNNING}),
    AttemptState.SUCCEEDED: frozenset(),
    AttemptState.FAILED: frozenset(),
    AttemptState.STOPPED: frozenset(),
    AttemptState.LOST: frozenset(),
}

State = TypeVar("State", JobState, AttemptState)


def advance(current: State, to: State) -> State:
    """The state moved to, if the table lists the step; raises IllegalTransition otherwise."""
    allowed = JOB_TRANSITIONS[current] if isinstance(current, JobState) else ATTEMPT_TRANSITIONS[current]
    if to not in allowed:
        raise IllegalTransition(f"{type(current).__name__} cannot move from {current} to {to}")
    return to
