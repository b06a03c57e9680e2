"""Owns the processes of one pool as the host sees them: found by a mark in their environment, ended by pidfd.

`ray stop` would end every Ray of the host, and pids on file may be used again; the mark is this pool's alone. Minders
start with an empty environment, so they never carry it.
"""

import os
import select
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MARK = "GRIDBAY_POOL"
KILL_SECONDS_MAX = 10.0
_QUIET_SCANS = 2  # a worker may be born while the others die


@dataclass(frozen=True, slots=True)
class PoolProcess:
    """pid: as this process counts. shown_as: its folder in /proc, which may show an outer namespace's numbers."""

    pid: int
    shown_as: str
    name: str
    command: str


def find_marked(mark: str) -> list[PoolProcess]:
    """Every process of this user that was started for the pool."""
    wanted = f"{MARK}={mark}".encode()
    level = len(_numbers(Path("/proc/self")))
    found: list[PoolProcess] = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with suppress(OSError):
            if wanted not in (folder / "environ").read_bytes().split(b"\0"):
                continue
            numbers = _numbers(folder)
            if len(numbers) < level:
                continue  # not of this PID namespace: there is no number to reach it by
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            name = (folder / "comm").read_text().strip()
            found.append(PoolProcess(int(numbers[level - 1]), folder.name, name, command))
    return found


def kill_marked(mark: str) -> int:
    """Kill all of them, the raylet first (it would start new workers), and wait until none is left; how many died."""
    until = time.monotonic() + KILL_SECONDS_MAX
    killed = quiet = 0
    while quiet < _QUIET_SCANS and time.monotonic() < until:
        found = sorted(find_marked(mark), key=lambda process: process.name != "raylet")
        quiet = 0 if found else quiet + 1
        descriptors = [descriptor for process in found if (descriptor := _open(process.pid)) is not None]
        for descriptor in descriptors:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                killed += 1
        for descriptor in descriptors:
            _ended(descriptor, 1.0)
            os.close(descriptor)
    return killed


def kill_one(process: PoolProcess) -> None:
    descriptor = _open(process.pid)
    if descriptor is not None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        os.close(descriptor)


class Watch:
    """Tells whether processes still live, by their pidfds: a pid that was used again cannot deceive it."""

    def __init__(self, processes: list[PoolProcess]) -> None:
        self._descriptors = [(process, _open(process.pid)) for process in processes]

    def dead(self) -> list[str]:
        """The names of those that are gone."""
        return [process.name for process, descriptor in self._descriptors if descriptor is None or _ended(descriptor)]

    def close(self) -> None:
        for _, descriptor in self._descriptors:
            if descriptor is not None:
                os.close(descriptor)
        self._descriptors = []


def _numbers(folder: Path) -> list[str]:
    """A process's pid in each PID namespace it is in, from that of /proc inwards."""
    return (folder / "status").read_text(errors="replace").partition("NSpid:")[2].partition("\n")[0].split()


def _open(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


def _ended(descriptor: int, wait_seconds: float = 0.0) -> bool:
    """A pidfd turns readable when its process is gone."""
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(wait_seconds * 1000))
