"""An attempt while its minder runs it: notice the end, take readings, hold it to its longest duration and its lease."""

import asyncio
import os
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from market.agent_api import AttemptStatus
from market.states import Reason
from provider_agent.attempts.attempt import Attempt
from provider_agent.attempts.ending import lost_result, result_of
from provider_agent.attempts.metering import Meter
from provider_agent.attempts.record import Result
from provider_agent.attempts.threads import in_thread
from provider_agent.minder import control, layout, orders

TICK_SECONDS = 0.25
HASTE_SECONDS = 0.01
"""Between two looks at an attempt that has no minder to listen to: it is just starting, or just over."""
LATE_NS = 3_000_000_000
"""A minder this late with a kill it owes is stopped or stuck, and is killed in its turn."""


async def watch(attempt: Attempt, meter: Meter) -> Result:
    """How it ended; returns when nothing of it runs any more."""
    told, tick_at = False, time.monotonic() + TICK_SECONDS
    with _EndNotice(attempt.folder) as notice:
        # While its minder is known to live, nobody need look whether it ended.
        while notice.listens or (result := _ended(attempt)) is None:
            await notice.wait(tick_at - time.monotonic())
            if time.monotonic() < tick_at:
                continue
            tick_at = time.monotonic() + TICK_SECONDS
            # One that is over within a tick is told of once: as ended.
            if not told and control.usage(attempt.folder) is not None:
                attempt.means.reports.tell(AttemptStatus(attempt_id=attempt.attempt_id, state="running"))
                told = True
            meter.take_if_due()
            await _hold_to_bounds(attempt)
    return result


def _ended(attempt: Attempt) -> Result | None:
    try:
        outcome = control.outcome(attempt.folder)
        if outcome is not None:
            return result_of(attempt.record, outcome)
        lost = control.was_lost(attempt.folder)
    except orders.UnreadableFile as error:
        attempt.log.warning("the outcome cannot be read", error=str(error))
        lost = control.find(attempt.folder) is None
    overdue = attempt.record.boot_id == layout.boot_id() and attempt.held_seconds <= 0
    return lost_result(attempt.record, overdue=overdue) if lost else None


async def _hold_to_bounds(attempt: Attempt) -> None:
    """Stop at the longest duration; kill a minder that does not kill when it should have."""
    record = attempt.record
    now_ns = layout.boottime_ns()
    usage = control.usage(attempt.folder)
    if usage is not None and record.run_for_seconds > 0:
        began_ns = usage.at_boottime_ns - usage.run_ms * 1_000_000
        if now_ns >= began_ns + record.run_for_seconds * 1_000_000_000:
            attempt.stop(Reason.STOPPED_MAX_DURATION)
    if attempt.wanted_stop.is_set() and attempt.stop_asked_ns is None:
        attempt.ask_minder_to_stop()
    asked_ns = attempt.stop_asked_ns
    grace_ns = record.stop_grace_seconds * 1_000_000_000
    stuck = asked_ns is not None and now_ns > asked_ns + grace_ns + LATE_NS
    if stuck or control.is_overdue(attempt.folder, LATE_NS):
        attempt.log.error("the minder did not end its attempt in time; killing it")
        await in_thread(control.kill, attempt.folder)


class _EndNotice:
    """Wakes up at once when the minder dies, instead of at the next look."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor: int | None = None
        self._ended = asyncio.Event()

    def __enter__(self) -> "_EndNotice":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    @property
    def listens(self) -> bool:
        """Whether it has the minder, which has not died."""
        return self._descriptor is not None

    async def wait(self, seconds: float) -> None:
        if self._descriptor is None:
            self._open()
        patience = seconds if self._descriptor is not None else min(seconds, HASTE_SECONDS)
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._ended.wait()
        self._ended.clear()

    def _open(self) -> None:
        minder = control.find(self._folder)
        if minder is None or minder.starting:
            return
        try:
            self._descriptor = os.pidfd_open(minder.pid)
        except OSError:
            return  # gone, or no descriptor left: the next look finds out all the same
        if control.find(self._folder) != minder:
            # Its pid may be another's by now, whose end would say nothing.
            os.close(self._descriptor)
            self._descriptor = None
            return
        asyncio.get_running_loop().add_reader(self._descriptor, self._notice)

    def _notice(self) -> None:
        self._close()
        self._ended.set()

    def _close(self) -> None:
        if self._descriptor is not None:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None
