"""An event loop in a thread of its own: who runs none has questions asked there, over connections that last."""

import asyncio
import os
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class OwnLoop:
    """Each process has its own, begun when it is first used: a fork has none of its parent's threads."""

    _lock: threading.RLock
    _loop: asyncio.AbstractEventLoop | None

    def __init__(self) -> None:
        self._begin_afresh()
        os.register_at_fork(after_in_child=self._begin_afresh)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What the work gives or raises, in the thread that asks; not in one that runs an event loop itself."""
        return self.start(work).result()

    def start(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="own-loop", daemon=True).start()
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _begin_afresh(self) -> None:
        self._lock = threading.RLock()
        self._loop = None
