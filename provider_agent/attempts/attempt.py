"""One attempt of this node: its record on disk, what the portal wants of it, and its way from there to the report."""

import asyncio
from pathlib import Path
from threading import Lock
from typing import Any

import structlog

from market.agent_api import Action, AttemptOrder, DesiredAttempt
from market.states import Reason
from provider_agent.attempts.means import Means, Needs
from provider_agent.attempts.record import WORK, Record, Stage
from provider_agent.minder import control, orders
from provider_agent.minder.layout import boottime_ns

EXTENSION_NS_MIN = 100_000_000
"""Each answer says a little better when a lease ends; for less than this no running minder is told of it."""

_log = structlog.get_logger(__name__)


class Attempt:
    """wanted_stop: set once it is to end, the first reason counts; deadline_ns: of its lease, on CLOCK_BOOTTIME.

    order: as it came with the poll, minder_order: what was made of it, without secrets; both in memory alone.
    """

    def __init__(self, folder: Path, record: Record, means: Means, order: AttemptOrder | None = None) -> None:
        self.folder = folder
        self.record = record
        self.means = means
        self.order = order
        self.minder_order: orders.Order | None = None
        self.wanted_stop = asyncio.Event()
        self.log = _log_of(record)
        self.deadline_ns = max(record.deadline_boottime_ns, orders.read_deadline(folder) or 0)
        self._asked_at_ns: int | None = None
        self._saving = Lock()
        if record.stop_reason is not None:
            self.wanted_stop.set()

    @property
    def attempt_id(self) -> str:
        return self.record.attempt_id

    @property
    def needs(self) -> Needs:
        record = self.record
        return Needs(record.attempt_id, record.gpu_uuids, record.cpu_milli, record.memory_bytes)

    @property
    def workdir(self) -> Path:
        return self.folder / WORK

    @property
    def stop_asked_ns(self) -> int | None:
        """When this agent asked the minder to stop (CLOCK_BOOTTIME)."""
        return self._asked_at_ns

    def note(self, **changes: Any) -> None:
        """Change the record here alone; the next save takes it along."""
        self.record = self.record.model_copy(update=changes)
        if "trace" in changes:
            self.log = _log_of(self.record)

    def update(self, **changes: Any) -> None:
        """Change the record; it survives a kill when this returns."""
        self.note(**changes)
        self.save()

    def save(self, *, durable: bool = False) -> None:
        """The record as it is now survives a kill when this returns, if durable a power cut. Threads may call it."""
        with self._saving:
            self.record.save(self.folder, durable=durable)

    def wish(self, desired: DesiredAttempt, deadline_ns: int) -> None:
        """Apply what the portal wants of it now. Saying it twice changes nothing."""
        self.extend(deadline_ns)
        if desired.action is Action.STOP:
            self.stop(desired.stop_reason or Reason.STOPPED_BY_USER)

    def extend(self, deadline_ns: int) -> None:
        """Move the deadline on. Each answer gives a bound that is certainly not too late, so the latest one holds."""
        if deadline_ns <= self.deadline_ns or (
            self.record.stage is Stage.LAUNCHING and deadline_ns < self.deadline_ns + EXTENSION_NS_MIN
        ):
            return
        self.deadline_ns = deadline_ns
        if self.record.stage is Stage.LAUNCHING:
            control.extend(self.folder, deadline_ns)

    def stop(self, reason: Reason) -> None:
        """End it with grace. Before its command ever ran it simply does not start."""
        if self.record.stage not in (Stage.ACCEPTED, Stage.LAUNCHING):
            return
        if self.record.stop_reason is None:
            self.log.info("attempt is to stop", reason=reason)
            self.update(stop_reason=reason)
        self.wanted_stop.set()
        if self.record.stage is Stage.LAUNCHING and self._asked_at_ns is None:
            self.ask_minder_to_stop()

    def ask_minder_to_stop(self) -> None:
        self._asked_at_ns = boottime_ns()
        control.request_stop(self.folder, self.record.stop_grace_seconds)

    @property
    def held_seconds(self) -> float:
        """What is left of the lease, as far as this node knows."""
        return (self.deadline_ns - boottime_ns()) / 1e9


def _log_of(record: Record) -> Any:
    known = {"trace": record.trace} if record.trace else {}
    return _log.bind(attempt_id=record.attempt_id, job_id=record.job_id, **known)
