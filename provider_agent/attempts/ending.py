"""How an attempt ended, from what its minder left to the market's closed list of reasons."""

from market.states import Reason
from provider_agent.attempts.record import Record, Result
from provider_agent.minder.orders import Cause, Outcome

DETAIL_MAX = 500
_LEASE_SLACK_SECONDS = 10
"""A lease that ran out this close to the job's longest duration ran out because of it."""


def result_of(record: Record, outcome: Outcome) -> Result:
    """What to report for an outcome."""
    code = outcome.exit_code
    detail = outcome.detail[:DETAIL_MAX]
    match outcome.cause:
        case Cause.EXITED:
            return Result(reason=Reason.SUCCEEDED if code == 0 else Reason.FAILED_EXIT_CODE, exit_code=code)
        case Cause.SIGNAL:
            return Result(reason=Reason.FAILED_SIGNAL, exit_code=code, detail=_signal_words(code))
        case Cause.OUT_OF_MEMORY:
            words = f"it needed more than the {record.memory_bytes} bytes of memory it asked for"
            return Result(reason=Reason.FAILED_OUT_OF_MEMORY, exit_code=code, detail=words)
        case Cause.OUT_OF_DISK:
            words = f"it wrote more than the {record.disk_bytes} bytes of disk it asked for"
            return Result(reason=Reason.FAILED_OUT_OF_DISK, exit_code=code, detail=words)
        case Cause.DEADLINE:
            return Result(reason=record.stop_reason or _deadline_reason(record, outcome), exit_code=code)
        case Cause.STOPPED:
            return Result(reason=record.stop_reason or Reason.STOPPED_BY_USER, exit_code=code)
        case Cause.NOT_STARTED:
            return Result(reason=Reason.FAILED_START, detail=detail or "the command could not be started")


def lost_result(record: Record, *, overdue: bool) -> Result:
    """Its minder died without a word: killed for being late with its deadline, by somebody, or with its whole node."""
    if record.stop_reason is not None:
        return Result(reason=record.stop_reason)
    if overdue:
        return Result(reason=Reason.STOPPED_LEASE_EXPIRED)
    return Result(reason=Reason.FAILED_PROVIDER_LOST, detail="the node lost the process that ran the job")


def _deadline_reason(record: Record, outcome: Outcome) -> Reason:
    leased_ns = outcome.ended_boottime_ns - record.accepted_boottime_ns
    whole_ns = (record.run_for_seconds - record.stop_grace_seconds - _LEASE_SLACK_SECONDS) * 1_000_000_000
    return Reason.STOPPED_MAX_DURATION if leased_ns >= whole_ns else Reason.STOPPED_LEASE_EXPIRED


def _signal_words(code: int | None) -> str:
    return f"ended by signal {code - 128}" if code is not None and code > 128 else "ended by a signal"
