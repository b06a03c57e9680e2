"""What the agent tells without being asked: statuses until they are accepted, readings until they are durable."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from market.agent_api import AttemptStatus, Report, ReportAnswer
from market.failpoints import failpoint
from market.reading_runs import runs_of
from provider_agent.conversation import Conversation, Refused, Unreachable
from provider_agent.pacing import Backoff
from provider_agent.spool import Spool
from provider_agent.telemetry import REPORTS

PACE_SECONDS = 1.0
GATHER_SECONDS, GATHER_SECONDS_MAX = 0.03, 0.1
GATHER_TIMES = 2
"""After an answer the next report waits for others to join it, so often as long as that answer took, within these: one
after a pause waits for nothing, and a portal that is busy is told in larger pieces."""
STATUSES_MAX = 64
REPEAT_FIRST_SECONDS = 2.0
REPEAT_MOST_SECONDS = 30.0

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Told:
    """A status on its way. due_at: when to say it (again), monotonic seconds."""

    status: AttemptStatus
    accepted: asyncio.Event = field(default_factory=asyncio.Event)
    due_at: float = 0.0
    backoff: Backoff = field(default_factory=lambda: Backoff(REPEAT_FIRST_SECONDS, REPEAT_MOST_SECONDS))


class Reports:
    """One signed report at a time: at once when there is a status to tell, else each second while readings wait."""

    def __init__(self, conversation: Conversation, spool: Spool, node_id: str) -> None:
        self._conversation = conversation
        self._spool = spool
        self._node_id = node_id
        self._told: dict[str, _Told] = {}
        self._wake = asyncio.Event()

    def tell(self, status: AttemptStatus) -> asyncio.Event:
        """Say it until it is accepted; a later status of the same attempt takes its place."""
        told = _Told(status)
        self._told[status.attempt_id] = told
        self._wake.set()
        return told.accepted

    def forget(self, attempt_id: str) -> None:
        self._told.pop(attempt_id, None)

    async def run(self) -> None:
        """Report for ever. Raises Unauthenticated when the node's credential is no good."""
        backoff = Backoff(most_seconds=5.0)
        statuses_only = False
        next_at = 0.0
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(PACE_SECONDS):
                    await self._wake.wait()
            if (wait := next_at - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            self._wake.clear()
            report = self._next_report(statuses_only=statuses_only)
            if report is None:
                statuses_only = False
                continue
            asked_at = time.monotonic()
            try:
                answer = await self._conversation.report(report)
            except Unreachable as error:
                REPORTS.labels("unanswered").inc()
                self._spool.rewind()
                await asyncio.sleep(backoff.next_seconds(error.retry_after))
                continue
            except Refused as error:
                # One reading that the portal cannot take must not keep the ends of attempts from being told.
                REPORTS.labels("refused").inc()
                _log.error("the portal refused a report", error=error.detail)
                self._spool.rewind()
                statuses_only = not statuses_only
                await asyncio.sleep(backoff.next_seconds())
                continue
            failpoint("agent.report.sent")
            answered_at = time.monotonic()
            next_at = answered_at + pause_seconds(answered_at - asked_at)
            REPORTS.labels("taken").inc()
            backoff.reset()
            statuses_only = False
            self._take(report, answer)

    def _next_report(self, *, statuses_only: bool) -> Report | None:
        now = time.monotonic()
        due = [told for told in self._told.values() if told.due_at <= now][:STATUSES_MAX]
        readings = [] if statuses_only else self._spool.unsent()
        if not due and not readings:
            return None
        return Report(
            node_id=self._node_id,
            sent_at_ms=time.time_ns() // 1_000_000,
            statuses=[told.status for told in due],
            runs=list(runs_of(readings)),
        )

    def _take(self, report: Report, answer: ReportAnswer) -> None:
        accepted = set(answer.accepted)
        for status in report.statuses:
            told = self._told.get(status.attempt_id)
            if told is None or told.status is not status:
                continue  # something newer is to be told by now
            if status.attempt_id in accepted:
                del self._told[status.attempt_id]
                told.accepted.set()
            else:
                told.due_at = time.monotonic() + told.backoff.next_seconds()
        if any(told.due_at == 0 for told in self._told.values()):
            self._wake.set()  # more than one report takes, or told meanwhile
        self._spool.settle(answer.durable_through)


def pause_seconds(answered_in: float) -> float:
    """How long the next report waits for others, after one that was answered in so many seconds."""
    return min(max(GATHER_TIMES * answered_in, GATHER_SECONDS), GATHER_SECONDS_MAX)
