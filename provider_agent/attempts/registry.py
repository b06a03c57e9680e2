"""All attempts of this node, and the rule that moves them: the portal's list is what is to be here, nothing else."""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

import structlog

from market.agent_api import ATTEMPTS_PER_NODE_MAX, AttemptStatus, DesiredAttempt
from market.states import Reason
from provider_agent.attempts.attempt import Attempt
from provider_agent.attempts.folders import remove_tree
from provider_agent.attempts.lifecycle import end_now, give_up, kill, live
from provider_agent.attempts.means import Means
from provider_agent.attempts.record import Record, Stage, read_record
from provider_agent.attempts.start import has_order_or_began
from provider_agent.minder import layout, orders
from provider_agent.pacing import Backoff

FORGOTTEN_MAX = 4096
REMOVE_LATER_SECONDS = 0.15
"""What has been reported is removed so long after the news that it is not listed: what begins by it goes first."""
STUMBLES_MAX = 5
"""So often an attempt that never ran is begun anew after a fault of ours; then the market tries another node."""

_LIVING = (Stage.ACCEPTED, Stage.LAUNCHING)

_log = structlog.get_logger(__name__)


class Registry:
    """Attempts by id, each with the task that lives it."""

    def __init__(self, folder: Path, means: Means) -> None:
        self._folder = folder
        self._means = means
        self._attempts: dict[str, Attempt] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ending: dict[str, asyncio.Task[None]] = {}
        self._forgotten: OrderedDict[str, None] = OrderedDict()

    def leased_gpus(self) -> frozenset[str]:
        """The devices of attempts that have not ended."""
        living = (attempt.record for attempt in self._attempts.values() if attempt.record.stage in _LIVING)
        return frozenset(uuid for record in living for uuid in record.gpu_uuids)

    def known(self) -> list[str]:
        """The attempts that are here."""
        return [*self._attempts][:ATTEMPTS_PER_NODE_MAX]

    def stages(self) -> list[tuple[Path, Stage]]:
        """The folder and stage of every attempt, for whoever counts them; may be asked from another thread."""
        return [(attempt.folder, attempt.record.stage) for attempt in tuple(self._attempts.values())]

    async def restore(self) -> None:
        """Find what a former agent left: what runs is adopted, what never ran waits for the portal's word."""
        for folder in sorted(self._folder.iterdir()):
            record = read_record(folder)
            if record is None or record.attempt_id != folder.name:
                await remove_tree(folder)
                continue
            if record.boot_id != layout.boot_id():
                record = _carry_over_boot(folder, record)
            if record.stage is Stage.LAUNCHING and not has_order_or_began(folder):
                record = record.model_copy(update={"stage": Stage.ACCEPTED})
            attempt = Attempt(folder, record, self._means)
            self._attempts[attempt.attempt_id] = attempt
            if attempt.record.stage in (Stage.LAUNCHING, Stage.ENDED):
                attempt.log.info("attempt adopted", stage=attempt.record.stage)
                self._start(attempt)

    def apply(self, desired: Iterable[DesiredAttempt], leases_from_ns: int) -> None:
        """Make this node what the portal wants; saying the same twice changes nothing."""
        wanted = {item.attempt_id: item for item in desired}
        for item in wanted.values():
            deadline_ns = leases_from_ns + item.held_for_ms * 1_000_000
            try:
                self._apply_one(item, deadline_ns)
            except OSError as error:
                _log.error(
                    "an attempt could not be taken up; trying again", attempt_id=item.attempt_id, error=str(error)
                )
        for attempt in [*self._attempts.values()]:
            if attempt.attempt_id not in wanted:
                self._end(attempt)

    async def close(self, *, end_attempts: bool) -> None:
        """Leave: the minders run on for the next agent, or everything ends with this one."""
        tasks = [*self._tasks.values(), *self._ending.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if end_attempts:
            # Their records stay: the next agent tells the market that they were lost, and never runs them again.
            await asyncio.gather(*(kill(attempt) for attempt in self._attempts.values()), return_exceptions=True)

    def _apply_one(self, item: DesiredAttempt, deadline_ns: int) -> None:
        attempt = self._attempts.get(item.attempt_id)
        if item.attempt_id in self._ending:
            return
        if attempt is None and item.attempt_id in self._forgotten:
            # Listed again after it was withdrawn and ended: it is not run a second time.
            self._means.reports.tell(_withdrawn(item.attempt_id))
            return
        if attempt is None:
            attempt = self._accept(item, deadline_ns)
        attempt.wish(item, deadline_ns)
        if attempt.attempt_id not in self._tasks and attempt.record.stage is not Stage.REPORTED:
            self._start(attempt)

    def _accept(self, item: DesiredAttempt, deadline_ns: int) -> Attempt:
        folder = self._folder / item.attempt_id
        if len(self._attempts) >= ATTEMPTS_PER_NODE_MAX or folder.parent != self._folder:
            raise OSError(f"no room for attempt {item.attempt_id!r}")
        folder.mkdir(mode=0o700, exist_ok=True)
        record = Record.accept(
            item,
            slot=self._free_slot(),
            boot_id=layout.boot_id(),
            now_ns=layout.boottime_ns(),
            deadline_ns=deadline_ns,
        )
        # On disk once it is prepared: after a kill before that it is accepted again.
        attempt = Attempt(folder, record, self._means, item.order)
        self._attempts[attempt.attempt_id] = attempt
        attempt.log.info("attempt accepted", gpus=len(item.gpu_uuids), cpu_milli=item.cpu_milli)
        return attempt

    def _free_slot(self) -> int:
        taken = {attempt.record.slot for attempt in self._attempts.values()}
        return next(slot for slot in range(ATTEMPTS_PER_NODE_MAX + 1) if slot not in taken)

    def _start(self, attempt: Attempt) -> None:
        self._tasks[attempt.attempt_id] = asyncio.create_task(self._live(attempt))

    async def _live(self, attempt: Attempt) -> None:
        """Live it, and enter again after anything unforeseen: a fault of ours must not lose a customer's job."""
        backoff = Backoff()
        while True:
            try:
                if backoff.failures >= STUMBLES_MAX:
                    give_up(attempt)
                await live(attempt)
            except Exception:
                attempt.log.exception("an attempt stumbled; going on with it")
                await asyncio.sleep(backoff.next_seconds())
            else:
                return

    def _end(self, attempt: Attempt) -> None:
        if attempt.attempt_id not in self._ending:
            self._ending[attempt.attempt_id] = asyncio.create_task(self._end_now(attempt))

    async def _end_now(self, attempt: Attempt) -> None:
        if attempt.record.stage is Stage.REPORTED:
            await asyncio.sleep(REMOVE_LATER_SECONDS)
        task = self._tasks.pop(attempt.attempt_id, None)
        if task is not None:
            task.cancel()
            await asyncio.wait({task})
        self._means.reports.forget(attempt.attempt_id)
        try:
            await end_now(attempt)
        except Exception:
            attempt.log.exception("an attempt could not be removed; the next poll tries again")
        else:
            del self._attempts[attempt.attempt_id]
            self._forgotten[attempt.attempt_id] = None
            while len(self._forgotten) > FORGOTTEN_MAX:
                self._forgotten.popitem(last=False)
        finally:
            del self._ending[attempt.attempt_id]


def _carry_over_boot(folder: Path, record: Record) -> Record:
    """After a reboot nothing runs and no deadline means anything; what never ran may still begin."""
    changes: dict[str, object] = {"deadline_boottime_ns": 0, "accepted_boottime_ns": layout.boottime_ns()}
    if record.stage is Stage.LAUNCHING and not orders.was_started(folder):
        changes |= {"stage": Stage.ACCEPTED}
    carried = record.model_copy(update=changes)
    carried.save(folder)
    return carried


def _withdrawn(attempt_id: str) -> AttemptStatus:
    return AttemptStatus(
        attempt_id=attempt_id,
        state="exited",
        reason=Reason.FAILED_PROVIDER_LOST,
        detail="the portal withdrew the attempt and this node has ended it",
    )
