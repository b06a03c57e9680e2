"""Database work that no batcher gathers: a small bounded pool of threads, each call in one transaction of its own.

A transaction begins and commits inside one function in one thread. There are never more threads than connections.
"""

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from sqlalchemy.orm import Session

from infra.database import Database
from portal_api.problems import Busy

Result = TypeVar("Result")
WAITING_MAX = 1_000


class DatabaseThreads:
    """threads: how many transactions may run at once; waiting_max: how many calls may be under way or waiting."""

    def __init__(self, database: Callable[[], Database], threads: int, waiting_max: int = WAITING_MAX) -> None:
        self._database = database
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="database")
        self._waiting, self._waiting_max = 0, waiting_max

    async def transact(self, work: Callable[[Session], Result]) -> Result:
        """Run the work in a transaction that commits when it returns. Raises Busy when too much is waiting."""

        def run() -> Result:
            with self._database().transaction() as session:
                return work(session)

        return await self.call(run)

    async def read(self, work: Callable[[Session], Result]) -> Result:
        """Run work that only reads."""

        def run() -> Result:
            with self._database().read() as session:
                return work(session)

        return await self.call(run)

    async def call(self, work: Callable[[], Result]) -> Result:
        """Run blocking work that needs no session."""
        if self._waiting >= self._waiting_max:
            raise Busy("more requests wait for the database than can be taken on", remedy="try again in a moment")
        self._waiting += 1
        try:
            context = contextvars.copy_context()
            return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: context.run(work))
        finally:
            self._waiting -= 1

    def stop(self) -> None:
        """Finish what runs and refuse the rest."""
        self._pool.shutdown(wait=True, cancel_futures=True)
