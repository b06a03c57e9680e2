"""How long each GPU has been busy, summed up from a look a second; this counter exists nowhere else."""

import asyncio
import time
from collections.abc import Iterable

import structlog

from provider_agent.gpus.port import Gpus

LOOK_SECONDS = 1.0
GAP_MAX_SECONDS = 5.0
"""A look that came later than this says nothing about the time before it (the machine slept, the driver hung)."""

_log = structlog.get_logger(__name__)


class GpuBusy:
    """Milliseconds of busy time by UUID, since this agent started."""

    def __init__(self, gpus: Gpus) -> None:
        self._gpus = gpus
        self._busy_ms: dict[str, float] = {}

    def total_ms(self, uuids: Iterable[str]) -> int:
        return int(sum(self._busy_ms.get(uuid, 0.0) for uuid in uuids))

    async def run(self) -> None:
        """Look for ever. The driver is asked in a thread: a hung one must not hold the agent."""
        before = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                busy = await asyncio.to_thread(self._gpus.busy_percent)
            except Exception:
                _log.exception("the GPUs could not be looked at")
                busy = {}
            now = time.monotonic()
            elapsed = now - before
            before = now
            if elapsed > GAP_MAX_SECONDS:
                continue
            for uuid, percent in busy.items():
                self._busy_ms[uuid] = self._busy_ms.get(uuid, 0.0) + percent * elapsed * 10
