"""Owns the usage counters of an attempt: run time, CPU time and peak memory, cumulative, from cgroups or from /proc."""

import os
import resource
import time
from itertools import pairwise

from provider_agent.minder import layout, process_tree

DISK_ENTRIES_MAX = 200_000
_BLOCK = 512  # st_blocks counts in these, whatever the file system


class Readings:
    """Counters that never go back, although processes come and go between two looks."""

    def __init__(self, cgroup: dict[str, str]) -> None:
        self._cgroup = cgroup
        self._began_ns: int | None = None
        self._ended_ns: int | None = None
        self._cpu_ms = 0
        self._memory_peak = 0

    def begin(self) -> None:
        self._began_ns = time.monotonic_ns()

    def end(self) -> None:
        """Everything is dead: what the dead used is all in the reaped children's counters now."""
        self._ended_ns = time.monotonic_ns()

    def sample(self) -> dict[str, int]:
        self._cpu_ms = max(self._cpu_ms, self._cpu_now())
        self._memory_peak = max(self._memory_peak, self._memory_now())
        return {"run_ms": self.run_ms(), "cpu_ms": self._cpu_ms, "memory_peak_bytes": self._memory_peak}

    def run_ms(self) -> int:
        if self._began_ns is None:
            return 0
        return ((self._ended_ns or time.monotonic_ns()) - self._began_ns) // 1_000_000

    def out_of_memory(self) -> bool:
        """Whether the kernel killed something of the attempt because its memory was full."""
        fields = _read(self._cgroup.get("out_of_memory", "")).split()
        # v1's memory.oom_control and v2's memory.events are both lines of a name and a number.
        return any(name == "oom_kill" and int(count) > 0 for name, count in pairwise(fields))

    def memory_above(self, limit_bytes: int) -> bool:
        """Without a cgroup the minder watches itself; the exact count only where the quick one is above."""
        if process_tree.memory_bytes() <= limit_bytes:
            return False
        return process_tree.memory_bytes(exact=True) > limit_bytes

    def _cpu_now(self) -> int:
        if self._cgroup:
            fields = _read(self._cgroup.get("cpu_time", "")).split()
            if fields and fields[0] == "usage_usec":  # v2: cpu.stat
                return int(fields[1]) // 1000
            if fields:  # v1: cpuacct.usage
                return int(fields[0]) // 1_000_000
        dead = resource.getrusage(resource.RUSAGE_CHILDREN)
        return int((dead.ru_utime + dead.ru_stime) * 1000) + process_tree.cpu_ms()

    def _memory_now(self) -> int:
        peak = _read(self._cgroup.get("memory_peak", "")).strip()
        if peak:
            return int(peak)
        largest_dead = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        return max(largest_dead, process_tree.memory_bytes())


def disk_bytes(folder: str) -> int:
    """What a folder takes on disk, sparse files by what they really hold; symbolic links are not followed."""
    total = entries = 0
    folders = [folder]
    while folders and entries < DISK_ENTRIES_MAX:
        try:
            scan = os.scandir(folders.pop())
        except OSError:
            continue
        with scan:
            for entry in scan:
                entries += 1
                try:
                    total += entry.stat(follow_symlinks=False).st_blocks * _BLOCK
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                except OSError:
                    continue
    return total


def _read(path: str) -> str:
    try:
        return layout.read_all(os.open(path, os.O_RDONLY | os.O_CLOEXEC)).decode("utf-8", "replace")
    except OSError:
        return ""
