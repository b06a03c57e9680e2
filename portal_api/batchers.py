"""Batchers: one thread and one transaction for whatever gathered while the last one ran, and shortly after.

When idle a batch is of one and nothing waits; in a burst it is of hundreds, which is what makes the portal fast.
"""

import asyncio
import contextvars
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Condition, Thread
from typing import Generic, TypeVar

import structlog

from infra.pace import Pace
from infra.telemetry import BATCH_SIZE
from portal_api.problems import Busy

log = structlog.get_logger(__name__)
Item = TypeVar("Item")
Result = TypeVar("Result")

QUEUE_MAX = 5_000
BATCH_MAX = 200
STOP_SECONDS = 10.0
GATHER_SECONDS_MAX = 0.06


@dataclass(slots=True)
class _Waiting(Generic[Item, Result]):
    item: Item
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[Result]
    context: contextvars.Context


Outcome = tuple[_Waiting[Item, Result], Result | BaseException]


class Batcher(Generic[Item, Result]):
    """run(items) does the work of a batch in a transaction of its own and returns a result (or an exception) for each.

    A batch that raises is run again one item at a time, so that only the item at fault fails.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[list[Item]], Sequence[Result | BaseException]],
        *,
        queue_max: int = QUEUE_MAX,
        batch_max: int = BATCH_MAX,
    ) -> None:
        self._name, self._run = name, run
        self._queue_max, self._batch_max = queue_max, batch_max
        self._queue: deque[_Waiting[Item, Result]] = deque()
        self._changed = Condition()
        self._stopping = False
        self._pace = Pace(GATHER_SECONDS_MAX)
        self._thread = Thread(target=self._work, name=f"batcher-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Finish what was taken on, then end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(STOP_SECONDS)

    async def submit(self, item: Item) -> Result:
        """The item's own result. Raises what its work raised, or Busy when too much is waiting."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Result] = loop.create_future()
        waiting = _Waiting(item, loop, answer, contextvars.copy_context())
        with self._changed:
            if self._stopping or len(self._queue) >= self._queue_max:
                raise Busy(f"{self._name}: more requests wait than can be taken on", remedy="try again in a moment")
            self._queue.append(waiting)
            self._changed.notify()
        return await answer

    def _work(self) -> None:
        while batch := self._next():
            with self._pace.piece():
                outcomes = self._outcomes(batch)
            loops = {id(waiting.loop): waiting.loop for waiting, _ in outcomes}
            for key, loop in loops.items():
                of_loop = [outcome for outcome in outcomes if id(outcome[0].loop) == key]
                try:
                    loop.call_soon_threadsafe(_tell, of_loop)
                except RuntimeError:
                    log.warning("batch_unheard", batcher=self._name, items=len(of_loop))

    def _next(self) -> list[_Waiting[Item, Result]]:
        """What has gathered, the oldest first; empty when the batcher stops."""
        with self._changed:
            while not self._queue and not self._stopping:
                self._changed.wait()
            full = self._stopping or len(self._queue) >= self._batch_max
        if not full and (seconds := self._pace.wait_seconds):
            time.sleep(seconds)
        with self._changed:
            return [self._queue.popleft() for _ in range(min(len(self._queue), self._batch_max))]

    def _outcomes(self, batch: list[_Waiting[Item, Result]]) -> list[Outcome[Item, Result]]:
        BATCH_SIZE.labels(self._name).observe(len(batch))
        if len(batch) == 1:
            return [(batch[0], self._singly(batch[0]))]
        try:
            results = self._run([waiting.item for waiting in batch])
        except Exception as error:
            log.info("batch_retried_singly", batcher=self._name, items=len(batch), error=type(error).__name__)
            return [(waiting, self._singly(waiting)) for waiting in batch]
        return list(zip(batch, results, strict=True))

    def _singly(self, waiting: _Waiting[Item, Result]) -> Result | BaseException:
        try:
            results: Sequence[Result | BaseException] = waiting.context.run(self._run, [waiting.item])
            return results[0]
        except Exception as error:
            return error


def _tell(outcomes: Sequence[Outcome[Item, Result]]) -> None:
    """Hand the outcomes over, in the event loop; a caller that went away meanwhile is passed over."""
    for waiting, outcome in outcomes:
        if waiting.answer.done():
            continue
        if isinstance(outcome, BaseException):
            waiting.answer.set_exception(outcome)
        else:
            waiting.answer.set_result(outcome)
