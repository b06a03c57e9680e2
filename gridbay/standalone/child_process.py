"""One running process of a child: its pipe into the log, its end, its process group."""

import asyncio
import os
import signal
import time
from contextlib import suppress

from gridbay.standalone.child_log import ChildLog
from gridbay.standalone.children import Child
from infra.embedded.server import start

READ_BYTES = 64 * 1024
# What may still be in the pipe of a process that has ended: a Linux pipe holds 64 KiB.
DRAIN_READS_MAX = 4


class ChildProcess:
    """Made inside a running event loop, whose reaper calls `ended` once. Raises OSError if it cannot be started."""

    def __init__(self, child: Child, log: ChildLog) -> None:
        self.child, self._log = child, log
        self.started_at = time.time()
        self.exit_code: int | None = None
        self._started = time.monotonic()
        self._end = asyncio.Event()
        self._pipe, writing = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._pipe, False)
        log.begin()
        try:
            self._process = start(child.argv, child.env, writing, child.cwd)
        except BaseException:
            os.close(self._pipe)
            raise
        finally:
            os.close(writing)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._pipe, self._read)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self.exit_code is None

    @property
    def seconds(self) -> float:
        """How long it has run, or ran."""
        return time.monotonic() - self._started

    def ended(self, exit_code: int) -> None:
        """The kernel says so. exit_code: negative for a signal, as in subprocess."""
        self.exit_code = self._process.returncode = exit_code
        for _ in range(DRAIN_READS_MAX):
            if not self._read():
                break
        if self.child.sweep:
            self._signal_group(signal.SIGKILL)
        self._end.set()

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        await self._end.wait()
        assert self.exit_code is not None
        return self.exit_code

    async def wait_for(self, seconds: float) -> bool:
        """Whether it has ended within that time."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._end.wait(), seconds)
        return not self.alive

    def send(self, number: signal.Signals) -> None:
        if self.alive:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """It and whatever is in its process group."""
        self._signal_group(signal.SIGKILL)

    def _signal_group(self, number: signal.Signals) -> None:
        # It leads its own session, so the group has its pid, and keeps that pid taken as long as anybody is in it.
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def _read(self) -> bool:
        """Take what the pipe holds; False when that is nothing. Descendants may hold the pipe open for long."""
        if self._pipe < 0:
            return False
        try:
            data = os.read(self._pipe, READ_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self._loop.remove_reader(self._pipe)
            os.close(self._pipe)
            self._pipe = -1
            return False
        self._log.write(data)
        return True
