"""Owns the kernel's groups of an attempt: memory, processes and CPU bounded and counted, where the agent may make them.

v1 is proven by running; the v2 writer is tested on a folder only and counts as unproven until a v2 machine ran it.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from provider_agent.minder.orders import Cgroup
from provider_agent.sandbox.port import Limits

PARENT = "gridbay"
CPU_PERIOD_US = 100_000
BUILDING_CPUS = 1.0
"""What a group may use at first. With a twentieth of a core alone the walls would take 150 ms to build."""
MEMORY_LEAST_BYTES = 8 * 1024 * 1024
"""What the birth of a command takes, while its minder is in the group with it: the kernel would kill both."""
FORGOTTEN_SECONDS = 3600.0
_V1_CONTROLLERS = ("memory", "pids", "cpu", "cpuacct")
_PROCESSES = "cgroup.procs"
_DELEGATED_LEAF = "agent"  # systemd's DelegateSubgroup= for the unit of an agent


@dataclass(frozen=True, slots=True)
class CgroupsV1:
    """One tree a controller; folders: the group of the agent itself in each."""

    folders: dict[str, Path]
    version = 1

    def parents(self) -> set[Path]:
        return {folder / PARENT for folder in self.folders.values()}

    def make(self, name: str, limits: Limits) -> Cgroup:
        own = {controller: folder / PARENT / name for controller, folder in self.folders.items()}
        for folder in own.values():
            folder.mkdir(parents=True, exist_ok=True)
        memory, memory_bytes = own["memory"], max(limits.memory_bytes, MEMORY_LEAST_BYTES)
        _put(memory / "memory.limit_in_bytes", memory_bytes)
        if (memory / "memory.memsw.limit_in_bytes").exists():
            _put(memory / "memory.memsw.limit_in_bytes", memory_bytes)
        _put(own["pids"] / "pids.max", limits.processes_max)
        _put(own["cpu"] / "cpu.cfs_period_us", CPU_PERIOD_US)
        _put(own["cpu"] / "cpu.cfs_quota_us", _quota(max(limits.cpus, BUILDING_CPUS)))
        # cpu and cpuacct may be one tree: each folder is joined and removed once.
        folders = tuple(dict.fromkeys(own.values()))
        files = {
            "cpu_time": own["cpuacct"] / "cpuacct.usage",
            "memory_peak": memory / "memory.max_usage_in_bytes",
            "out_of_memory": memory / "memory.oom_control",
        }
        return Cgroup(
            # Whoever joins has one thread: to move that, the kernel waits for nobody. A whole process costs 10 ms.
            join=tuple(folder / "tasks" for folder in folders),
            leave=tuple(folder / "tasks" for folder in dict.fromkeys(self.folders.values())),
            folders=folders,
            files=files,
            quota=(own["cpu"] / "cpu.cfs_quota_us", str(_quota(limits.cpus))),
        )


@dataclass(frozen=True, slots=True)
class CgroupsV2:
    """The one tree. base: a group without processes of its own, delegated to the agent; own: the agent's group."""

    base: Path
    own: Path
    version = 2

    def parents(self) -> set[Path]:
        return {self.base / PARENT}

    def make(self, name: str, limits: Limits) -> Cgroup:
        parent = self.base / PARENT
        own = parent / name
        own.mkdir(parents=True, exist_ok=True)
        for folder in (self.base, parent):
            _put(folder / "cgroup.subtree_control", "+memory +pids +cpu")
        _put(own / "memory.max", max(limits.memory_bytes, MEMORY_LEAST_BYTES))
        _put(own / "memory.swap.max", 0)
        _put(own / "memory.oom.group", 1)
        _put(own / "pids.max", limits.processes_max)
        _put(own / "cpu.max", f"{_quota(max(limits.cpus, BUILDING_CPUS))} {CPU_PERIOD_US}")
        files = {
            "cpu_time": own / "cpu.stat",
            "memory_peak": own / "memory.peak",
            "out_of_memory": own / "memory.events",
        }
        quota = (own / "cpu.max", f"{_quota(limits.cpus)} {CPU_PERIOD_US}")
        return Cgroup(
            join=(own / _PROCESSES,), leave=(self.own / _PROCESSES,), folders=(own,), files=files, quota=quota
        )


Cgroups = CgroupsV1 | CgroupsV2


def find_cgroups() -> Cgroups | None:
    """The groups this process may make, by trying; None where it may not (a plain user, a closed container)."""
    mounts = _mounts()
    own = _own_groups()
    folders = {name: _inside(mounts[name], own[name]) for name in _V1_CONTROLLERS if name in mounts and name in own}
    if len(folders) == len(_V1_CONTROLLERS):
        return CgroupsV1(folders) if all(_may_make(folder) for folder in folders.values()) else None
    if "" not in mounts or "" not in own:
        return None
    group = _inside(mounts[""], own[""])
    base = group.parent if group.name == _DELEGATED_LEAF else group
    try:
        controllers = (base / "cgroup.controllers").read_text().split()
    except OSError:
        return None
    return CgroupsV2(base, group) if {"memory", "pids", "cpu"} <= set(controllers) and _may_make(base) else None


def remove(cgroup: Cgroup) -> None:
    """Remove an attempt's groups; they are empty once its minder is dead, and often gone already."""
    for folder in cgroup.folders:
        with suppress(FileNotFoundError):
            folder.rmdir()


def sweep(groups: Cgroups, *, now: float) -> int:
    """Remove the groups of attempts that nobody will clean up any more (their agent's state is gone); how many.

    The kernel refuses to remove one with a process in it, and a young one may be about to get its first.
    """
    swept = 0
    for parent in groups.parents():
        for folder in parent.iterdir() if parent.is_dir() else ():
            with suppress(OSError):
                if folder.is_dir() and folder.stat().st_mtime < now - FORGOTTEN_SECONDS:
                    folder.rmdir()
                    swept += 1
    return swept


def _quota(cpus: float) -> int:
    return max(1000, round(cpus * CPU_PERIOD_US))  # the kernel takes no less than 1 ms


def _put(path: Path, value: int | str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, str(value).encode())
    finally:
        os.close(descriptor)


def _mounts() -> dict[str, tuple[Path, str]]:
    """Controller -> (where its tree is mounted, which group is the mount's root); the v2 tree is called ''."""
    found: dict[str, tuple[Path, str]] = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        kind, _, options = rest.split(" ", 2)
        root, point = fields.split()[3:5]
        if kind == "cgroup":
            found |= {name: (Path(point), root) for name in options.split()[-1].split(",") if name in _V1_CONTROLLERS}
        elif kind == "cgroup2":
            found[""] = (Path(point), root)
    return found


def _own_groups() -> dict[str, str]:
    groups: dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        groups |= dict.fromkeys(controllers.split(","), path)
    return groups


def _inside(mounted: tuple[Path, str], group: str) -> Path:
    """The folder of a group; inside a container the mount shows only a part of the tree."""
    point, root = mounted
    return point / group.removeprefix(root.rstrip("/")).lstrip("/")


def _may_make(folder: Path) -> bool:
    trial = folder / f"{PARENT}-trial-{os.getpid()}"
    try:
        trial.mkdir()
        trial.rmdir()
    except OSError:
        return False
    # Minders come back into the agent's own group.
    return any(os.access(folder / name, os.W_OK) for name in ("tasks", _PROCESSES))
