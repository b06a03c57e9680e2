"""Proportional set size of a market's processes, by part, as the kernel accounts it (smaps_rollup)."""

from dataclasses import dataclass
from pathlib import Path

import psutil

KIB_PER_MB = 1000**2 / 1024
POOL_MARKS = ("ray::", "/ray/core/", "provider_agent.pool", "ray start", "ray/dashboard", "ray/_private")
AGENT_MARK = "provider run"


@dataclass(frozen=True, slots=True)
class Memory:
    """In MB. market: everything but the Ray pool; agent: the agent's own process, which is part of market."""

    market: float
    pool: float
    agent: float


def measure(root_pid: int) -> Memory:
    """Sum up the tree below a process; what ends meanwhile does not count."""
    market = pool = agent = 0.0
    root = psutil.Process(root_pid)
    for process in [root, *root.children(recursive=True)]:
        try:
            command = " ".join(process.cmdline())
            size = _pss_mb(process.pid)
        except (psutil.Error, OSError):
            continue
        if any(mark in command for mark in POOL_MARKS):
            pool += size
            continue
        market += size
        if AGENT_MARK in command:
            agent += size
    return Memory(market, pool, agent)


def _pss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / KIB_PER_MB
    return 0.0
