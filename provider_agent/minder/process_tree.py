"""Owns the view of everything below this process, the minder, read from /proc: who is there, with what, in reach how.

/proc may show the ids of an outer PID namespace (the market runs nested), so ids are translated before a signal.
"""
# ruff: noqa: PTH208

import os
import signal

from provider_agent.minder import layout

PROCESSES_MAX = 4096
THREADS_MAX = 256
_TICKS = os.sysconf("SC_CLK_TCK")
_KIBIBYTE = 1024
_SELF = "self"  # right whatever numbers /proc shows


def below() -> list[tuple[str, int]]:
    """Every process below as (its id in /proc, how many levels down), nearest first."""
    found: list[tuple[str, int]] = []
    level = [_SELF]
    depth = 0
    while level and len(found) < PROCESSES_MAX:
        depth += 1
        level = [child for parent in level for child in _children(parent)]
        found += [(child, depth) for child in level]
    return found[:PROCESSES_MAX]


def terminate(deeper_than: int) -> int:
    """SIGTERM to whatever runs deeper than the sandbox's own processes; how many were reached."""
    fields = _status(_SELF, ("NSpid",)).get("NSpid", "").split()
    reached = 0
    for process, depth in below():
        ids = _status(process, ("NSpid",)).get("NSpid", "").split()
        if depth <= deeper_than or len(ids) < len(fields):
            continue
        try:
            os.kill(int(ids[len(fields) - 1]), signal.SIGTERM)
            reached += 1
        except ProcessLookupError:
            continue
    return reached


def cpu_ms() -> int:
    """CPU time of everything below, with what its dead children used."""
    ticks = 0
    for process, _ in below():
        fields = _read(f"/proc/{process}/stat").rpartition(")")[2].split()
        ticks += sum(int(field) for field in fields[11:15])
    return ticks * 1000 // _TICKS


def memory_bytes(*, exact: bool = False) -> int:
    """Memory in use below: the sum of resident pages, or, exact and dearer, with shared pages counted once."""
    total = 0
    for process, _ in below():
        if exact:
            parts = _table(_read(f"/proc/{process}/smaps_rollup"), ("Pss_Anon", "Pss_Shmem"))
            if parts:
                total += sum(_kilobytes(text) for text in parts.values())
                continue
        total += sum(_kilobytes(text) for text in _status(process, ("RssAnon", "RssShmem")).values())
    return total


def _children(process: str) -> list[str]:
    try:
        threads = os.listdir(f"/proc/{process}/task")[:THREADS_MAX]
    except OSError:
        return []
    return [child for thread in threads for child in _read(f"/proc/{process}/task/{thread}/children").split()]


def _status(process: str, names: tuple[str, ...]) -> dict[str, str]:
    return _table(_read(f"/proc/{process}/status"), names)


def _table(text: str, names: tuple[str, ...]) -> dict[str, str]:
    rows = (line.partition(":") for line in text.splitlines())
    return {name: value.strip() for name, _, value in rows if name in names}


def _kilobytes(text: str) -> int:
    return int(text.split(maxsplit=1)[0]) * _KIBIBYTE


def _read(path: str) -> str:
    """Empty when the process is gone: the tree changes while it is read."""
    try:
        return layout.read_all(os.open(path, os.O_RDONLY | os.O_CLOEXEC)).decode("utf-8", "replace")
    except OSError:
        return ""
