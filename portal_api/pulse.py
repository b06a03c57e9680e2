"""The portal's pulse: notes every few seconds that polls are taken; the sweep tells a deaf portal from lost nodes so.

A poll of nobody goes the way of every other: only what came back from there proves that nodes can be heard.
"""

import asyncio
from contextlib import suppress
from functools import partial

import structlog
from sqlalchemy.exc import SQLAlchemyError

from market.clock import Clock
from market.errors import MarketError, NotFound
from portal_api.agent_polls import Desire, Poll
from portal_api.batchers import Batcher
from portal_api.threads import DatabaseThreads
from scheduler.upkeep import listening

log = structlog.get_logger(__name__)
NOBODY = Poll("", None, 0, last=False)


class PortalPulse:
    """Beats for as long as it runs."""

    def __init__(self, polls: Batcher[Poll, Desire | None], threads: DatabaseThreads, clock: Clock) -> None:
        self._polls, self._threads, self._clock = polls, threads, clock
        self._beating: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._beating = asyncio.create_task(self._beat(), name="pulse")

    async def stop(self) -> None:
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait([self._beating])

    async def _beat(self) -> None:
        while True:
            try:
                with suppress(NotFound):
                    await self._polls.submit(NOBODY)
                await self._threads.transact(partial(listening.note, now=self._clock.now()))
            except (MarketError, SQLAlchemyError) as error:
                log.info("pulse_missed", error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(listening.NOTE_SECONDS)
