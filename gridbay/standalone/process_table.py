"""Reads the kernel's process table: who descends from whom, what pid a process has inside its namespace, its memory."""

from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """namespace_pids: its pid in each PID namespace from ours down to its own; by the last one it knows itself."""

    pid: int
    parent: int
    namespace_pids: tuple[int, ...]


def processes() -> dict[int, Process]:
    """Every process that can be seen from here, by pid."""
    found = (_read(int(entry.name)) for entry in PROC.iterdir() if entry.name.isdecimal())
    return {process.pid: process for process in found if process is not None}


def children_of(pid: int) -> list[int]:
    return [process.pid for process in processes().values() if process.parent == pid]


def descendants(pid: int, table: dict[int, Process]) -> list[Process]:
    """The process itself, if it lives, and all that descend from it."""
    by_parent: dict[int, list[Process]] = {}
    for process in table.values():
        by_parent.setdefault(process.parent, []).append(process)
    found = [table[pid]] if pid in table else []
    for process in found:
        found.extend(by_parent.get(process.pid, ()))
    return found


def memory_bytes(pid: int) -> int:
    """Its proportional share of memory (PSS); 0 if it has ended or is not ours to look at."""
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _read(pid: int) -> Process | None:
    try:
        lines = (PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    if fields.get("State", "").strip().startswith("Z"):
        return None
    pids = tuple(int(text) for text in fields.get("NSpid", str(pid)).split())
    return Process(pid, int(fields["PPid"]), pids)
