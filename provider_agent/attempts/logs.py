"""A log on its way to the portal: by offset, while it grows; the portal says where its copy ends."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from market.agent_api import LOG_CHUNK_MAX_BYTES, LOG_MAX_BYTES
from market.errors import MarketError
from provider_agent.conversation import Conversation, Unreachable
from provider_agent.pacing import Backoff

LOOK_SECONDS = 0.2


class LogShipment:
    """The log of one attempt. delivered: where the portal's copy ends, as far as it has told."""

    def __init__(self, attempt_id: str, path: Path, delivered: int = 0) -> None:
        self._attempt_id = attempt_id
        self._path = path
        self.delivered = delivered

    @property
    def size(self) -> int:
        """What there is to deliver now."""
        try:
            return min(self._path.stat().st_size, LOG_MAX_BYTES)
        except FileNotFoundError:
            return 0

    @property
    def behind(self) -> bool:
        return self.delivered < self.size

    async def ship(self, conversation: Conversation) -> None:
        """Send the next chunk. The answer decides where to go on, so a lost or doubled chunk changes nothing.

        Raises what the conversation raises; then nothing is known to have arrived, and the same chunk goes again.
        """
        chunk = self._read(self.delivered)
        if not chunk:
            return
        self.delivered = await conversation.put_log(self._attempt_id, self.delivered, chunk)

    def _read(self, offset: int) -> bytes:
        room = min(LOG_CHUNK_MAX_BYTES, LOG_MAX_BYTES - offset)
        if room <= 0:
            return b""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return b""
        try:
            return os.pread(descriptor, room, offset)
        finally:
            os.close(descriptor)


class Shipping:
    """Ships a log in the background while it grows; `finish` returns once all of it is there."""

    def __init__(self, shipment: LogShipment, conversation: Conversation, log: FilteringBoundLogger) -> None:
        self.shipment = shipment
        self._conversation = conversation
        self._log = log
        self._complete = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def finish(self) -> None:
        """The log grows no more: deliver what is left."""
        self._complete.set()
        await self._task

    def cancel(self) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        backoff = Backoff()
        while self.shipment.behind or not self._complete.is_set():
            if not self.shipment.behind:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._complete.wait()
                continue
            before = self.shipment.delivered
            try:
                await self.shipment.ship(self._conversation)
            except Unreachable as error:
                await asyncio.sleep(backoff.next_seconds(error.retry_after))
                continue
            except MarketError as error:
                self._log.warning("the portal takes no more of this log", error=error.detail)
                return
            if self.shipment.delivered > before:
                backoff.reset()
            else:
                await asyncio.sleep(backoff.next_seconds())
