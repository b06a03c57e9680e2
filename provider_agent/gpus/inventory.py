"""What a node offers besides its GPUs: CPUs, memory and disk, less a reserve that keeps the machine itself alive."""

import os
import re
import shutil
import socket
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from market.errors import InvalidInput
from market.resources import Inventory
from provider_agent.config import AGENT_VERSION, Identity
from provider_agent.gpus.port import Gpus

MEMORY_RESERVE_BYTES = 512 * 2**20
DISK_RESERVE_BYTES = 2 * 10**9
RESERVE_SHARE = 10
"""A tenth of memory and disk is kept back, or the fixed reserve where that is more; of the CPUs a whole tenth."""

_CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class Capacity:
    """What jobs may use of this machine. Sizes in bytes, CPUs in thousandths."""

    cpu_milli: int
    memory_bytes: int
    disk_bytes: int


def measure(folder: Path) -> Capacity:
    """This machine as it is, within the limits of a container it may run in, less the reserve."""
    cpus = len(os.sched_getaffinity(0))
    quota = _cpu_quota_milli()
    cpu_milli = min(cpus * 1000, quota) if quota else cpus * 1000
    memory = min(psutil.virtual_memory().total, _memory_limit_bytes())
    free = shutil.disk_usage(folder).free
    return Capacity(
        cpu_milli=max(cpu_milli - cpus // RESERVE_SHARE * 1000, min(cpu_milli, 1000)),
        memory_bytes=max(memory - max(MEMORY_RESERVE_BYTES, memory // RESERVE_SHARE), 0),
        disk_bytes=max(free - max(DISK_RESERVE_BYTES, free // RESERVE_SHARE), 0),
    )


def node_inventory(gpus: Gpus, identity: Identity, folder: Path, sandbox: str) -> Inventory:
    """The inventory of a joined node, within its owner's limits. Raises InvalidInput."""
    measured = replace(measure(folder), disk_bytes=identity.disk_bytes)
    return take_inventory(
        gpus, measured, cpu_milli=identity.cpu_milli, memory_bytes=identity.memory_bytes, sandbox=sandbox
    )


def take_inventory(
    gpus: Gpus, measured: Capacity, *, cpu_milli: int | None, memory_bytes: int | None, sandbox: str
) -> Inventory:
    """The inventory to declare. cpu_milli, memory_bytes: the owner's limits, which cannot exceed what there is."""
    return Inventory(
        hostname=socket.gethostname()[:253] or "unnamed",
        cpu_milli=_limited("--cpus", cpu_milli, len(os.sched_getaffinity(0)) * 1000, measured.cpu_milli),
        memory_bytes=_limited("--memory", memory_bytes, psutil.virtual_memory().total, measured.memory_bytes),
        disk_bytes=_something(measured.disk_bytes, "disk space"),
        gpus=gpus.facts(),
        simulated=gpus.simulated,
        sandbox=sandbox,
        driver_version=gpus.driver_version,
        cuda_version=gpus.cuda_version,
        agent_version=AGENT_VERSION,
    )


def _limited(option: str, wanted: int | None, there_is: int, measured: int) -> int:
    if wanted is None:
        return _something(measured, "memory")
    if not 0 < wanted <= there_is:
        raise InvalidInput(
            f"{option} asks for {wanted}, but this machine has {there_is}",
            remedy=f"give {option} a value up to that, or leave it out",
        )
    return wanted


def _something(amount: int, what: str) -> int:
    if amount <= 0:
        raise InvalidInput(f"this machine has no {what} left to offer after the reserve", remedy=f"free some {what}")
    return amount


def _memory_limit_bytes() -> int:
    """The limit of the cgroup this process is in; without one, more than any machine has."""
    found = [
        int(text)
        for name in ("memory.max", "memory/memory.limit_in_bytes")
        if (text := _first_line(_CGROUP / name)).isdigit()
    ]
    return min(found, default=2**62)


def _cpu_quota_milli() -> int | None:
    """The CPU quota of the cgroup this process is in, in thousandths."""
    words = _first_line(_CGROUP / "cpu.max").split()
    if len(words) != 2:
        words = [_first_line(_CGROUP / "cpu" / name) for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")]
    if not all(re.fullmatch(r"\d+", word) for word in words) or int(words[1]) == 0:
        return None
    return int(words[0]) * 1000 // int(words[1])


def _first_line(path: Path) -> str:
    try:
        with path.open() as file:
            return file.read(200).partition("\n")[0].strip()
    except OSError:
        return ""
