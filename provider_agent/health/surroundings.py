"""What health knows besides the driver's answers: the disk, the clock, whose GPUs are leased, what was there before."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from provider_agent.gpus.readings import Look

FILES_FREE_MIN = 1000


@dataclass(frozen=True, slots=True)
class DiskReading:
    """files_free: how many more files it takes; None where it does not count them."""

    free_bytes: int
    files_free: int | None
    read_only: bool


@dataclass(frozen=True, slots=True)
class Surroundings:
    """pool: the GPUs that Ray's books know; seen: every GPU that this agent ever saw; leased: those that jobs hold now;
    contradictions: by UUID, how its facts are not those of its name; own: processes that the agent started;
    hung_seconds: how long the driver has owed an answer; clock_off_seconds: how far the clock is from the portal's,
    None before the portal was asked.
    """

    pool: frozenset[str] = frozenset()
    seen: frozenset[str] = frozenset()
    leased: frozenset[str] = frozenset()
    contradictions: Mapping[str, str] = field(default_factory=dict)
    own: frozenset[int] = frozenset()
    hung_seconds: float = 0.0
    clock_off_seconds: float | None = None
    disk: DiskReading | None = None


def own_processes(look: Look, leased: frozenset[str]) -> frozenset[int]:
    """Of the processes on devices that no job holds, those that descend from this one: proofs compute there too."""
    pids = {pid for device in look.devices if device.uuid not in leased for pid in device.checkup.processes or ()}
    return frozenset(pid for pid in pids if _descends_from_us(pid))


def _descends_from_us(pid: int) -> bool:
    try:
        return any(parent.pid == os.getpid() for parent in psutil.Process(pid).parents())
    except psutil.Error:
        return False


def read_disk(folder: Path) -> DiskReading | None:
    """The file system that the folder lies on, as an unprivileged process may use it; None when it cannot be asked."""
    try:
        told = os.statvfs(folder)
    except OSError:
        return None
    return DiskReading(
        free_bytes=told.f_bavail * told.f_frsize,
        files_free=told.f_favail if told.f_files else None,
        read_only=bool(told.f_flag & os.ST_RDONLY),
    )
