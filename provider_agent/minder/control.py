"""Owns what an agent does with attempts through their folders alone: any agent can be killed and the next one adopts.

Everything here is quick and blocking; `kill` waits for the end of the tree.
"""

import fcntl
import os
import select
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from provider_agent.minder import layout, orders
from provider_agent.minder.launcher import AlreadyStarted, LaunchFailed, launch
from provider_agent.minder.orders import Outcome, Usage

__all__ = [
    "AlreadyStarted",
    "LaunchFailed",
    "LiveMinder",
    "extend",
    "find",
    "is_overdue",
    "kill",
    "launch",
    "outcome",
    "request_stop",
    "usage",
    "was_lost",
]

KILL_SECONDS_MAX = 10.0
_FLOCK = "hhqqi4x"  # struct flock: type, whence, start, length, pid


@dataclass(frozen=True, slots=True)
class LiveMinder:
    """A minder that holds its lock. pid: as this process numbers processes; starting: it has no command yet."""

    pid: int
    starting: bool


def find(attempt_dir: Path) -> LiveMinder | None:
    """The minder that lives in an attempt folder, whoever started it."""
    for byte in (layout.LOCK_ALIVE, layout.LOCK_STARTING):
        pid = _holder(attempt_dir, byte)
        if pid is not None:
            return LiveMinder(pid=pid, starting=byte == layout.LOCK_STARTING)
    return None


def extend(attempt_dir: Path, deadline_boottime_ns: int) -> None:
    """Move the deadline; the minder looks at it at least once a second."""
    orders.write_deadline(attempt_dir, deadline_boottime_ns)
    _knock(attempt_dir)


def request_stop(attempt_dir: Path, grace_seconds: float) -> None:
    """SIGTERM to the command's processes now, SIGKILL to all that is left after the grace."""
    orders.write_stop(attempt_dir, grace_seconds)
    _knock(attempt_dir)


def kill(attempt_dir: Path) -> bool:
    """Kill the minder and with it the whole tree, and wait until it is gone; False when none lived.

    For a minder that does not do its work any more. It leaves no outcome: the attempt counts as lost.
    """
    with _pidfd(attempt_dir) as descriptor:
        if descriptor is None:
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        # A pidfd turns readable when the process is gone; the first of its namespace goes last.
        ended = select.poll()
        ended.register(descriptor, select.POLLIN)
        ended.poll(KILL_SECONDS_MAX * 1000)
        return True


def outcome(attempt_dir: Path) -> Outcome | None:
    """How the attempt ended; None while it runs, before it runs, and when it was lost."""
    return orders.read_outcome(attempt_dir)


def usage(attempt_dir: Path) -> Usage | None:
    """The counters as last written, at most about a second old while the minder lives."""
    return orders.read_usage(attempt_dir)


def was_lost(attempt_dir: Path) -> bool:
    """Started, without an outcome, and no minder lives: whatever it ran dies with it and will not run again.

    The kernel lets go of a dying minder's lock a few milliseconds before it has killed the rest of the tree.
    """
    if not orders.was_started(attempt_dir) or find(attempt_dir) is not None:
        return False
    # The outcome is read last: a minder that ended between the two looks has written it.
    return orders.read_outcome(attempt_dir) is None


def is_overdue(attempt_dir: Path, late_ns: int) -> bool:
    """A minder lives although its deadline passed late_ns ago: it is stopped or stuck, so kill it."""
    deadline_ns = orders.read_deadline(attempt_dir) or 0
    return layout.boottime_ns() > deadline_ns + late_ns and find(attempt_dir) is not None


def _knock(attempt_dir: Path) -> None:
    with _pidfd(attempt_dir) as descriptor:
        if descriptor is not None:
            signal.pidfd_send_signal(descriptor, signal.SIGUSR1)


@contextmanager
def _pidfd(attempt_dir: Path) -> Iterator[int | None]:
    """A descriptor of the live minder itself: looked up twice, so a pid that was used again is never touched."""
    pid = _holder(attempt_dir, layout.LOCK_ALIVE)
    descriptor = None
    if pid is not None:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            descriptor = None
    try:
        still = descriptor is not None and _holder(attempt_dir, layout.LOCK_ALIVE) == pid
        yield descriptor if still else None
    except ProcessLookupError:
        return  # it died by itself meanwhile
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _holder(attempt_dir: Path, byte: int) -> int | None:
    """The pid that holds a byte of the lock file."""
    try:
        descriptor = os.open(attempt_dir / layout.LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    finally:
        os.close(descriptor)
    return int(pid) if kind != fcntl.F_UNLCK else None
