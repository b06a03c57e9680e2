"""A worker that gets no task although beat sends one every second is deaf: it ends, and is started again.

Celery's consumer on Redis may come back from a broken connection without consuming anything, for good (kombu 5.7: a
channel without an active queue, when the broker dies a second time while it reconnects). Nothing tells that from inside
but the silence.
"""

import os
import signal
import time
from threading import Event, Thread
from typing import Any

import structlog
from celery.signals import task_received
from celery.worker import state

log = structlog.get_logger(__name__)
SILENT_SECONDS = 15.0
"""Many beats; and few enough restarts a minute, should the broker stay away, for any supervisor's patience."""
LOOK_SECONDS = 1.0


class Watchdog:
    """Ends this process in order (SIGTERM to itself: tasks under way are finished) when it has heard nothing."""

    def __init__(self, silent_seconds: float = SILENT_SECONDS) -> None:
        self._silent_seconds = silent_seconds
        self._heard_at = time.monotonic()
        self._stop = Event()

    def start(self) -> None:
        task_received.connect(self._heard, weak=False)
        Thread(target=self._watch, name="watchdog", daemon=True).start()

    def _heard(self, **_: Any) -> None:
        self._heard_at = time.monotonic()

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            # Whoever is busy takes nothing new.
            if state.reserved_requests:
                self._heard()
            elif time.monotonic() - self._heard_at > self._silent_seconds:
                log.error("worker_deaf", silent_seconds=self._silent_seconds)
                os.kill(os.getpid(), signal.SIGTERM)
                return
