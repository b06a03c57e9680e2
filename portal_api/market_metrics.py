"""What a scrape of the portal gets: this process's counters, and the market's gauges, read again only when stale."""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime

from sqlalchemy.orm import Session

from infra import telemetry
from monitoring import metrics
from monitoring.metrics import Gauge
from portal_api.threads import DatabaseThreads

STATE_SECONDS = 5.0
REPORTS_SECONDS = 60.0

Reading = Callable[[Session, datetime], list[Gauge]]


class _Kept:
    """Gauges and when they were read; any number of scrapers cost what one does."""

    def __init__(self, read: Reading, seconds: float) -> None:
        self._read, self._seconds = read, seconds
        self._gauges: list[Gauge] = []
        self._until = 0.0
        self._one = asyncio.Lock()

    async def gauges(self, threads: DatabaseThreads, now: datetime) -> list[Gauge]:
        async with self._one:
            if time.monotonic() >= self._until:
                self._gauges = await threads.read(lambda session: self._read(session, now))
                self._until = time.monotonic() + self._seconds
            return self._gauges


class MarketMetrics:
    """One for each portal process."""

    def __init__(self, state_seconds: float = STATE_SECONDS, reports_seconds: float = REPORTS_SECONDS) -> None:
        self._state = _Kept(metrics.state, state_seconds)
        self._reports = _Kept(metrics.reports, reports_seconds)

    async def exposition(self, threads: DatabaseThreads, now: datetime) -> bytes:
        """In Prometheus' text format."""
        gauges = [*await self._state.gauges(threads, now), *await self._reports.gauges(threads, now)]
        return telemetry.exposition() + metrics.exposition(gauges)
