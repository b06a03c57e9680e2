"""A job watched live: its states with their reasons on stderr, its log on stdout, until it is over and billed."""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TextIO

from rich.console import Console
from rich.status import Status
from rich.text import Text

from gridbay.cli import wording
from gridbay.cli.console import harmless
from gridbay.cli.logs import LogWriter
from gridbay.client.sdk import Gridbay
from gridbay.client.streams import WaitedTooLong
from market.customer_api import JobView, LogLine
from market.resources import Unit
from market.states import JobState

WAITING_ITEMS_MAX = 1000
BILL_SECONDS_MAX = 90.0
LOG_SECONDS_MAX = 30.0
LOOK_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class _Over:
    """A stream has ended: `error`, if not in order."""

    stream: str
    error: BaseException | None = None


class Following:
    """Reads both streams in threads of their own and shows what comes; `run` may be interrupted and called again."""

    def __init__(self, market: Gridbay, job: JobView, console: Console, log_to: TextIO | None = None) -> None:
        self._market, self._job, self._console = market, job, console
        self._items: queue.Queue[LogLine | JobView | _Over] = queue.Queue(WAITING_ITEMS_MAX)
        self._writer = LogWriter(log_to)
        self._status: Status | None = None
        self._shown: tuple[Any, ...] = ()
        self._open = {"log", "states"}
        self._ended_at: float | None = None
        for name, stream in (("log", market.logs), ("states", market.events)):
            # Daemons: whoever detaches does not wait for them.
            threading.Thread(target=self._read, args=(name, stream), daemon=True).start()
        self._say(job)

    def run(self, *, seconds: float | None = None) -> JobView:
        """Until the job is over, its log is whole and its bill is written, or these two take too long.

        seconds: raise WaitedTooLong when all of it takes longer; the job goes on.
        """
        until = None if seconds is None else time.monotonic() + seconds
        try:
            while not self._finished():
                if until is not None and time.monotonic() > until:
                    raise WaitedTooLong(
                        f"{self._job.job_id} is not over after {seconds:g} s ({wording.state(self._job)})"
                    )
                try:
                    self._take(self._items.get(timeout=LOOK_SECONDS))
                except queue.Empty:
                    continue
        finally:
            self._rest(None)
        return self._job

    def _take(self, item: LogLine | JobView | _Over) -> None:
        if isinstance(item, LogLine):
            self._rest(None)
            self._writer.write(item)
        elif isinstance(item, JobView):
            self._say(item)
        else:
            self._open.discard(item.stream)
            if item.error is not None:
                raise item.error

    def _finished(self) -> bool:
        if not self._job.state.final:
            return False
        self._ended_at = self._ended_at or time.monotonic()
        waited = time.monotonic() - self._ended_at
        log_is_whole = "log" not in self._open or waited > LOG_SECONDS_MAX
        return log_is_whole and self._items.empty() and (self._job.billed or waited > BILL_SECONDS_MAX)

    def _say(self, job: JobView) -> None:
        """A line for each new state; while nothing runs, a spinner says what is waited for."""
        self._job = job
        attempt = job.attempts[-1].number if job.attempts else 0
        seen = (job.state, job.reason, attempt)
        if seen != self._shown:
            self._shown = seen
            self._rest(None)
            if not self._writer.at_line_start:
                self._console.print()
                self._writer.at_line_start = True
            words = ", ".join(part for part in (wording.reason(job), _where(job)) if part)
            self._console.print(Text.assemble((f"{job.state:<9} ", wording.COLOURS[job.state]), harmless(words)))
        if job.state in (JobState.QUEUED, JobState.PLACED, JobState.STOPPING):
            self._rest(f"{wording.state(job)} …")
        elif job.state.final and not job.billed:
            self._rest("the bill is being written …")

    def _rest(self, words: str | None) -> None:
        """Turn the spinner on or off; only a terminal sees one."""
        if words is None:
            if self._status is not None:
                self._status.stop()
                self._status = None
        elif self._console.is_terminal:
            if self._status is None:
                self._status = self._console.status(words, spinner="dots")
                self._status.start()
            else:
                self._status.update(words)

    def _read(self, name: str, stream: Callable[[str], Iterator[Any]]) -> None:
        try:
            for item in stream(self._job.job_id):
                self._items.put(item)
        except Exception as error:
            # Whatever it is, the main thread is to hear of it.
            self._items.put(_Over(name, error))
        else:
            self._items.put(_Over(name))


def _where(job: JobView) -> str:
    if not job.attempts or job.state not in (JobState.PLACED, JobState.RUNNING):
        return ""
    attempt = job.attempts[-1]
    price = f"{attempt.price_per_unit_hour.usdc} USDC a {wording.unit_name(Unit(job.unit))}"
    numbered = f", attempt {attempt.number}" if attempt.number > 1 else ""
    return f"on {attempt.node_name} at {price}{numbered}"


def closing_line(job: JobView) -> str:
    """What it came to: how long, where, how much."""
    where = f" on {job.attempts[-1].node_name}" if job.attempts else ""
    ran = f"ran {wording.duration(wording.run_seconds(job))}{where}" if job.attempts else "never ran"
    bill = "" if job.billed else " so far (the bill is not complete yet: gridbay cost shows it)"
    return f"{ran} · cost {job.cost.usdc} USDC{bill}"


def exit_code(job: JobView) -> int:
    """The job's own; 1 for one that ended without any."""
    if job.exit_code is not None and job.exit_code >= 0:
        return job.exit_code
    return 0 if job.state is JobState.SUCCEEDED else 1
