"""The minder itself: PID 1 of a PID namespace of its own, it runs one command and kills everything at its end.

Nothing but the standard library: it is forked by the nursery (`nursery.py`), which has no site packages.
Whoever kills it ends the whole tree with it: the kernel does that for the first process of a PID namespace.
"""
# ruff: noqa: PTH106

import fcntl
import json
import os
import select
import signal
import time
from contextlib import suppress
from typing import Any

from provider_agent.minder import command, layout, process_tree
from provider_agent.minder.log_spool import LogSpool
from provider_agent.minder.mounts import LeanMounts
from provider_agent.minder.readings import Readings, disk_bytes

TICK_NS = 1_000_000_000
FIRST_TICK_NS = 100_000_000  # what is over sooner writes its counters once
BUILDING_NS = 100_000_000  # so long after its start the sandbox stands, and the customer's share of the CPU holds
DISK_LOOK_NS = 2_000_000_000  # between two looks at the disk, or longer where a look is slow
DISK_LOOK_SHARE = 50  # a look may take one part in so many of the time
KILL_ROUND_MS = 5
FALL_MS = 100
PIPE_TURNS_MAX = 16
FAILED = 1


def start(path: str, tell: int, lean: LeanMounts | None) -> int:
    """Be the minder of an attempt folder until its end: 0, or ALREADY_STARTED or FAILED when it never became one.

    tell: a pipe that gets ALIVE once the minder lives; lean: where a sandbox may start from. Call it in a process that
    ends with it and is the first of a PID namespace of its own.
    """
    if os.getpid() != 1:
        return FAILED  # a minder kills all it can reach: outside a namespace of its own that would be the host
    # From here on a knock (a renewal of the lease) must not end whoever holds the minder's lock.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    lock = os.open(layout.LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 2)
        layout.reserve_outcome(folder)
        # A name costs less than a file, and there is none twice.
        os.link(layout.LOCK, layout.STARTED, src_dir_fd=folder, dst_dir_fd=folder)
    except (BlockingIOError, FileExistsError):
        return layout.ALREADY_STARTED
    # Who is told now may find the minder's lock alone.
    fcntl.lockf(lock, fcntl.LOCK_UN, 1, layout.LOCK_STARTING)
    with suppress(OSError):  # who asked may be gone by now; the next one finds this minder alive
        os.write(tell, layout.ALIVE)
    os.close(tell)
    Minder(folder, lean).run()
    return 0


class Minder:
    """One attempt from the order on disk to the outcome on disk."""

    def __init__(self, folder: int, lean: LeanMounts | None) -> None:
        self._folder, self._lean = folder, lean
        self._order: dict[str, Any] = {}
        self._child: int | None = None
        self._status: int | None = None
        self._cause: str | None = None
        self._grace_until_ns: int | None = None
        self._look_at_disk_ns = 0
        self._quota_due_ns: int | None = None
        self._deadline_ns = 0
        self._detail = ""

    def run(self) -> None:
        self._listen_to_signals()
        try:
            self._order, secrets = self._read_order()
        except (ValueError, TypeError, KeyError, OSError) as error:
            self._detail = f"the order cannot be read: {error!r}"
            self._write_outcome("not_started", {}, None)
            return
        self._command = self._order["command"]
        self._spool = LogSpool(self._folder, self._order["log_bytes_max"])
        self._readings = Readings(self._command["cgroup"]["files"])
        self._decide()
        if self._cause is None:
            self._start(secrets)
        self._spool.close_writer()
        self._watch()
        self._kill_everything()
        self._conclude()

    def _listen_to_signals(self) -> None:
        """Wake up for dead children and for the agent's knock; nobody's terminal interrupts a minder."""
        self._wakeup, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGUSR1, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _read_order(self) -> tuple[dict[str, Any], dict[str, Any]]:
        order = json.loads(layout.read_file(self._folder, layout.ORDER) or b"")
        secrets = json.loads(layout.read_file(self._folder, layout.ENVIRONMENT) or b"")
        os.unlink(layout.ENVIRONMENT, dir_fd=self._folder)
        return order, secrets

    def _start(self, secrets: dict[str, Any]) -> None:
        try:
            self._child = command.start(self._command, secrets, self._spool.writer, self._lean)
        except command.CannotStart as error:
            self._cause, self._detail = "not_started", str(error)
            return
        self._readings.begin()
        if self._command["cgroup"].get("quota"):
            self._quota_due_ns = time.monotonic_ns() + BUILDING_NS

    def _watch(self) -> None:
        """Until the command ends or something ends it: move its log, keep its counters, mind its bounds."""
        poller = select.poll()
        poller.register(self._wakeup, select.POLLIN)
        poller.register(self._spool.reader, select.POLLIN)
        tick_ns = time.monotonic_ns() + FIRST_TICK_NS
        while self._child is not None and self._status is None and not self._must_kill():
            for descriptor, _ in poller.poll(self._patience_ms(tick_ns)):
                if descriptor == self._wakeup:
                    os.read(self._wakeup, 4096)
                elif not self._spool.pump():
                    poller.unregister(descriptor)
            self._reap()
            if self._status is None:
                self._decide()
            if self._quota_due_ns is not None and time.monotonic_ns() >= self._quota_due_ns:
                self._hold_to_quota()
            if time.monotonic_ns() >= tick_ns:
                tick_ns = time.monotonic_ns() + TICK_NS
                self._write_usage()
                self._mind_resources()

    def _patience_ms(self, tick_ns: int) -> int:
        """How long nothing needs to be looked at: to the next tick, the deadline or the end of grace."""
        waits = [tick_ns - time.monotonic_ns(), self._deadline_ns - layout.boottime_ns()]
        waits += [due - time.monotonic_ns() for due in (self._grace_until_ns, self._quota_due_ns) if due is not None]
        return max(0, min(waits) // 1_000_000 + 1)

    def _decide(self) -> None:
        """The deadline kills, whatever else goes on; a stop asks first. The first cause is the one told."""
        text = layout.read_file(self._folder, layout.DEADLINE) or b""
        deadline_ns = layout.parse_deadline(text.decode("ascii", "replace"))
        self._deadline_ns = deadline_ns or 0
        if layout.boottime_ns() >= self._deadline_ns:
            self._cause = self._cause or "deadline"
            if deadline_ns is None:
                self._detail = f"the file {layout.DEADLINE} is missing, garbled or of another boot"
            self._grace_until_ns = time.monotonic_ns()
        elif self._cause is None:
            stop = layout.read_file(self._folder, layout.STOP)
            if stop is not None:
                self._cause = "stopped"
                self._grace_until_ns = time.monotonic_ns() + _grace_ns(stop)
                process_tree.terminate(self._command["sandbox_levels"])

    def _hold_to_quota(self) -> None:
        self._quota_due_ns = None
        path, quota = self._command["cgroup"]["quota"]
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            os.write(descriptor, quota.encode())
            os.close(descriptor)
        except OSError as error:
            self._detail = f"the CPU's bound could not be set: {error}"
            self._end_at_once("not_started")

    def _mind_resources(self) -> None:
        memory_max = self._command["memory_watch_bytes"]
        if self._cause is None and memory_max and self._readings.memory_above(memory_max):
            self._end_at_once("out_of_memory")
        now_ns = time.monotonic_ns()
        disk_max = self._order["disk_bytes_max"]
        if self._cause is None and disk_max and now_ns >= self._look_at_disk_ns:
            if disk_bytes(self._order["workdir"]) > disk_max:
                self._end_at_once("out_of_disk")
            took_ns = time.monotonic_ns() - now_ns
            self._look_at_disk_ns = now_ns + max(DISK_LOOK_NS, took_ns * DISK_LOOK_SHARE)

    def _end_at_once(self, cause: str) -> None:
        self._cause, self._grace_until_ns = cause, time.monotonic_ns()

    def _must_kill(self) -> bool:
        return self._grace_until_ns is not None and time.monotonic_ns() >= self._grace_until_ns

    def _reap(self) -> bool:
        """Collect the dead, orphans too; False when nobody is left at all."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._child:
                self._status = status

    def _kill_everything(self) -> None:
        """Nothing of the attempt runs when this returns: only then may anyone be told that it ended."""
        # A sandbox whose command ended falls by itself; to kill all, the kernel looks at each process of the host.
        falling = self._cause is None and bool(self._command["sandbox_levels"])
        while self._reap():
            try:
                if not falling:
                    os.kill(-1, signal.SIGKILL)
            except ProcessLookupError:
                continue
            if select.select([self._wakeup], [], [], (FALL_MS if falling else KILL_ROUND_MS) / 1000)[0]:
                os.read(self._wakeup, 4096)
            falling = False
            self._spool.pump()
        # Every writer is dead: the pipe holds at most its buffer. (A descriptor handed out of the tree may stay open.)
        for _ in range(PIPE_TURNS_MAX):
            if not self._spool.pump():
                break

    def _conclude(self) -> None:
        self._readings.end()
        self._spool.finish()
        usage = self._readings.sample()
        cause = self._cause
        if cause is None:
            cause = "exited" if os.WIFEXITED(self._status or 0) else "signal"
            code = _exit_code(self._status or 0)
            if code != 0 and self._readings.out_of_memory():
                cause = "out_of_memory"
            elif 128 < code < 160 and self._command["sandbox_levels"]:
                cause = "signal"  # bubblewrap tells a death by signal N as exit code 128 + N, as a shell does
        for path in self._command["cgroup"]["folders"]:
            try:
                os.rmdir(path)
            except OSError as error:
                _complain(f"{path} stays behind: {error}")
        self._write_outcome(cause, usage, self._spool)

    def _write_usage(self) -> None:
        content = json.dumps({**self._readings.sample(), "at_boottime_ns": layout.boottime_ns()}).encode()
        try:
            layout.replace_file(self._folder, layout.USAGE, content, durable=False)
        except OSError as error:
            _complain(f"usage not written: {error}")

    def _write_outcome(self, cause: str, usage: dict[str, int], spool: LogSpool | None) -> None:
        code = None if self._status is None else _exit_code(self._status)
        outcome = {
            "job_id": self._order.get("job_id", ""),
            "trace": self._order.get("trace"),
            "cause": cause,
            "exit_code": code,
            "detail": self._detail[:2000],
            "ended_unix_ns": time.time_ns(),
            "ended_boottime_ns": layout.boottime_ns(),
            "log_bytes": spool.size if spool else 0,
            "log_bytes_dropped": spool.dropped if spool else 0,
            "usage": {"run_ms": 0, "cpu_ms": 0, "memory_peak_bytes": 0, **usage},
        }
        layout.reveal_outcome(self._folder, json.dumps(outcome).encode())


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _complain(words: str) -> None:
    os.write(2, f"{words}\n".encode())


def _grace_ns(stop: bytes) -> int:
    """A stop request nobody can read is a stop without grace."""
    try:
        return int(json.loads(stop)["grace_ms"]) * 1_000_000
    except (ValueError, KeyError, TypeError):
        return 0
