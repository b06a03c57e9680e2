"""Telling the market what stands against this node: at once when it changes, and every minute what was seen."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import structlog

from market.agent_api import HealthReport
from market.health import Condition
from provider_agent.conversation import Conversation, Refused, Unreachable
from provider_agent.durable import write_atomically
from provider_agent.health.judging import Memory, step
from provider_agent.health.surroundings import Surroundings
from provider_agent.health.symptoms import HUNG_SECONDS
from provider_agent.health.watch import GpuWatch
from provider_agent.health.xids import XidSeen
from provider_agent.minder.layout import boot_id, boottime_ns
from provider_agent.pacing import Backoff

STEP_SECONDS = 1.0
REPEAT_SECONDS = 300.0
"""Said again though nothing changed: a market that was restored from a backup hears of it too."""
REFUSED_SECONDS = 60.0

_log = structlog.get_logger(__name__)


class Health:
    """Judges each look and tells what it finds. around: everything besides the driver, asked at every step."""

    def __init__(
        self, watch: GpuWatch, around: Callable[[], Surroundings], conversation: Conversation, kept: Path
    ) -> None:
        """kept: the file in which faults outlive this process."""
        self._watch = watch
        self._around = around
        self._conversation = conversation
        self._kept = kept
        self._memory = Memory(xids=_read(kept))
        self._told: list[Condition] | None = None
        self._told_s = 0.0
        self.judged = False
        self.conditions: list[Condition] = []

    async def run(self) -> None:
        """For ever. Raises Unauthenticated when the node's credential is no good."""
        backoff = Backoff()
        while True:
            await asyncio.sleep(STEP_SECONDS)
            self.judge()
            if not self.judged:
                continue
            try:
                await self._tell()
                backoff.reset()
            except Unreachable as error:
                await asyncio.sleep(backoff.next_seconds(error.retry_after))
            except Refused as error:
                # A portal older than this agent: jobs go on without it.
                _log.warning("the portal does not take this node's health", error=error.detail)
                await asyncio.sleep(REFUSED_SECONDS)

    def judge(self) -> None:
        """One step: what stands against this node now."""
        before = self._memory
        around = self._around()
        if not self._watch.looked and around.hung_seconds < HUNG_SECONDS:
            return
        now_s = boottime_ns() / 1e9
        self._memory, conditions = step(before, self._watch.newest(), around, now_s=now_s, boot_id=boot_id())
        if self._memory.xids != before.xids:
            _write(self._kept, self._memory.xids)
        for condition in conditions:
            if condition not in self.conditions:
                _log.warning("health", code=condition.code, gpu=condition.gpu_uuid, detail=condition.detail)
        self.conditions, self.judged = conditions, True

    async def _tell(self) -> None:
        now_s = boottime_ns() / 1e9
        minutes = self._watch.minute_to_tell()
        repeat = now_s - self._told_s >= REPEAT_SECONDS
        if self.conditions == self._told and not minutes and not repeat:
            return
        conditions = self.conditions
        await self._conversation.tell_health(HealthReport(conditions=conditions, minutes=minutes))
        self._watch.minute_told(minutes)
        self._told, self._told_s = conditions, now_s


def _read(path: Path) -> tuple[XidSeen, ...]:
    """What a former agent kept; a file that cannot be understood says nothing."""
    try:
        return tuple(XidSeen(**each) for each in json.loads(path.read_bytes()))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, TypeError) as error:
        _log.warning("the faults that were kept cannot be read", error=str(error))
        return ()


def _write(path: Path, xids: tuple[XidSeen, ...]) -> None:
    try:
        write_atomically(path, json.dumps([asdict(seen) for seen in xids]).encode())
    except OSError as error:
        _log.warning("a fault could not be kept", error=str(error))
