"""Starts the children in the order of their needs, tells and mends their deaths, and stops them in reverse."""

import asyncio
import os
import signal
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gridbay.standalone.child_log import ChildLog
from gridbay.standalone.child_process import ChildProcess
from gridbay.standalone.children import Child, ChildState, Tree

# A busy machine answers late: then asking again at once would never hear the answer.
PROBE_EVERY_SECONDS, PROBE_SECONDS = 0.05, 3.0
# A child that was never ready is tried once more; one that was, five times within a minute.
FIRST_STARTS_MAX = 2
DEATHS_MAX, DEATHS_WITHIN_SECONDS = 5, 60.0
PAUSE_SECONDS, PAUSE_SECONDS_MAX = 0.1, 5.0
STOP_SECONDS_MAX = 30.0
KILL_SECONDS = 5.0


@dataclass(slots=True)
class Life:
    """A child's present process, and its history."""

    child: Child
    log: ChildLog
    process: ChildProcess | None = None
    state: ChildState = ChildState.WAITING
    restarts: int = 0
    ready_after_seconds: float | None = None
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=DEATHS_MAX + 1))
    ever_ready: asyncio.Event = field(default_factory=asyncio.Event)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)

    def to_json(self) -> dict[str, Any]:
        process = self.process
        return {
            "name": self.child.name,
            "state": str(self.state),
            "pid": process.pid if process is not None and process.alive else None,
            "exit_code": process.exit_code if process is not None else None,
            "started_at": process.started_at if process is not None else None,
            "restarts": self.restarts,
            "ready_after_seconds": self.ready_after_seconds,
        }


class Supervisor:
    """Owns the process it runs in: its signals and all of its children.

    say: called with a line for the person; changed: called after each change of a child, and when all are ready.
    """

    def __init__(self, tree: Tree, logs: Path, say: Callable[[str], None], changed: Callable[[], None]) -> None:
        self._secrets = tree.secrets
        self._say, self._changed = say, changed
        self._lives = {child.name: Life(child, ChildLog(logs / f"{child.name}.log")) for child in tree.children}
        self._by_pid: dict[int, ChildProcess] = {}
        self._stop = asyncio.Event()
        self._failure: str | None = None
        self._began = time.monotonic()

    @property
    def all_ready(self) -> bool:
        """Whether every child has been ready once."""
        return all(life.ever_ready.is_set() for life in self._lives.values())

    def children(self) -> list[dict[str, Any]]:
        return [life.to_json() for life in self._lives.values()]

    def request_stop(self) -> None:
        self._stop.set()

    async def run(self) -> str | None:
        """Until told to stop, or until a child cannot be kept alive: then the reason. No child is left afterwards."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self.request_stop)
        tending = [loop.create_task(self._tend(life), name=life.child.name) for life in self._lives.values()]
        for task in tending:
            task.add_done_callback(self._tending_ended)
        await self._stop.wait()
        for task in tending:
            task.cancel()
        await asyncio.gather(*tending, return_exceptions=True)
        await self._stop_all()
        return self._failure

    async def _tend(self, life: Life) -> None:
        """The whole life of one child, until it is done, given up, or the market stops."""
        for need in life.child.needs:
            await self._lives[need].ever_ready.wait()
        while True:
            process = self._start(life)
            in_time = await self._await_ready(life, process)
            code = await process.wait()
            if life.child.one_shot and code == 0:
                self._mark_ready(life, ChildState.DONE)
                return
            life.deaths.append(time.monotonic())
            self._enter(life, ChildState.DIED)
            self._tell_death(life, process)
            pause = _pause(life) if in_time else None
            if pause is None:
                self._fail(f"{life.child.name} {_how_often(life)}; its log is {life.log.path}")
                return
            await asyncio.sleep(pause)
            life.restarts += 1

    def _start(self, life: Life) -> ChildProcess:
        life.process = process = ChildProcess(life.child, life.log)
        self._by_pid[process.pid] = process
        self._enter(life, ChildState.STARTING)
        return process

    async def _await_ready(self, life: Life, process: ChildProcess) -> bool:
        """Until it is ready or has ended; False if that took too long, and it was killed."""
        child = life.child
        if child.one_shot:
            if not await process.wait_for(child.ready_seconds):
                return self._kill_late(life, process)
            return True
        deadline = time.monotonic() + child.ready_seconds
        while child.probe is not None and not await child.probe.ask_async(PROBE_SECONDS):
            if time.monotonic() > deadline:
                return self._kill_late(life, process)
            if await process.wait_for(PROBE_EVERY_SECONDS):
                return True
        if child.probe is None:
            await process.wait_for(child.steady_seconds)
        if process.alive:
            self._mark_ready(life, ChildState.READY)
        return True

    def _kill_late(self, life: Life, process: ChildProcess) -> bool:
        self._say(f"{life.child.name} is not ready after {life.child.ready_seconds:g} s")
        process.kill()
        return False

    def _mark_ready(self, life: Life, state: ChildState) -> None:
        if not life.ever_ready.is_set():
            life.ready_after_seconds = round(time.monotonic() - self._began, 3)
        elif life.restarts:
            self._say(f"{life.child.name} is back")
        life.ever_ready.set()
        self._enter(life, state)

    def _tell_death(self, life: Life, process: ChildProcess) -> None:
        name, code = life.child.name, process.exit_code or 0
        how = f"killed by {_signal_name(-code)}" if code < 0 else f"exit code {code}"
        lines = "".join(f"\n  | {self._redacted(line)}" for line in life.log.tail()) or " (it printed nothing)"
        self._say(f"{name} died after {process.seconds:.1f} s: {how}. The end of its log, {life.log.path}:{lines}")

    def _redacted(self, line: str) -> str:
        for secret in self._secrets:
            line = line.replace(secret, "***")
        return line

    def _enter(self, life: Life, state: ChildState) -> None:
        life.state = state
        self._changed()

    def _fail(self, reason: str) -> None:
        self._failure = self._failure or reason
        self._stop.set()

    def _tending_ended(self, task: asyncio.Task[None]) -> None:
        """A child that cannot even be started ends the market too; nobody else would notice."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(f"{task.get_name()} cannot be started: {error}")

    def _reap(self) -> None:
        """Collect whatever has ended: children, and orphans that the kernel gave to this process."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            process = self._by_pid.pop(pid, None)
            if process is not None:
                process.ended(os.waitstatus_to_exitcode(status))

    async def _stop_all(self) -> None:
        """In reverse of the needs, side by side where possible, within a bound."""
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS_MAX):
                await asyncio.gather(*(self._stop_one(life) for life in self._lives.values()))
        for life in self._lives.values():
            if life.process is not None and life.process.alive:
                self._say(f"{life.child.name} did not stop in time and is killed")
                life.process.kill()
                await life.process.wait_for(KILL_SECONDS)
            life.log.close()

    async def _stop_one(self, life: Life) -> None:
        for other in self._lives.values():
            if life.child.name in other.child.needs:
                await other.stopped.wait()
        process = life.process
        if process is not None and process.alive:
            process.send(life.child.stop_signal)
            if not await process.wait_for(life.child.stop_seconds):
                self._say(f"{life.child.name} did not stop within {life.child.stop_seconds:g} s and is killed")
                process.kill()
                await process.wait_for(KILL_SECONDS)
        life.stopped.set()
        if life.state is not ChildState.DONE:
            self._enter(life, ChildState.STOPPED)


def _pause(life: Life) -> float | None:
    """Seconds until the next start of a child that died just now; None if it shall not be started again."""
    if not life.child.restart or life.child.one_shot:
        return None
    if not life.ever_ready.is_set():
        return PAUSE_SECONDS if len(life.deaths) < FIRST_STARTS_MAX else None
    recent = sum(1 for died in life.deaths if died > life.deaths[-1] - DEATHS_WITHIN_SECONDS)
    return min(PAUSE_SECONDS * 2 ** (recent - 1), PAUSE_SECONDS_MAX) if recent <= DEATHS_MAX else None


def _how_often(life: Life) -> str:
    """Why the market cannot go on without it, in words."""
    if life.child.one_shot or not life.child.restart:
        return "failed"
    if not life.ever_ready.is_set():
        return "does not start"
    return f"died {len(life.deaths)} times within {DEATHS_WITHIN_SECONDS:g} s"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
