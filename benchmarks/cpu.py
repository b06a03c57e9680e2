"""CPU time of a market's processes, by part, as the kernel accounts it: the figure that noise hardly moves."""

from collections import Counter

import psutil

PARTS = {
    "process api": "api",
    "process worker": "worker",
    "process relay": "relay",
    "process consumer": "consumer",
    "process beat": "beat",
    "process chain": "chain",
    "process storage": "storage",
    "postgres": "postgres",
    "valkey": "valkey",
    "rabbitmq": "rabbitmq",
    "benchmarks.double": "double",
    "provider run": "agent",
    "pool.child": "ray",
    "ray::": "ray",
    "ray/core": "ray",
    "ray/dashboard": "ray",
    "minder/nursery.py": "minders",
}
COLLECTORS, COLLECTED = ("standalone.pid_one", "minder/nursery.py"), "minders"
"""Who waits for minders, with their sandboxes: their nursery, and where it has gone the first process of the market."""


def cpu_ms(root_pid: int) -> Counter[str]:
    """User and system milliseconds of every process of the tree so far, by part.

    Of what has ended, minders alone are counted, and with them the commands they ran.
    """
    found: Counter[str] = Counter()
    root = psutil.Process(root_pid)
    for process in [root, *root.children(recursive=True)]:
        try:
            command, times = " ".join(process.cmdline()), process.cpu_times()
        except psutil.Error:
            continue
        part = next((part for mark, part in PARTS.items() if mark in command), "rest")
        found[part] += round((times.user + times.system) * 1000)
        if any(mark in command for mark in COLLECTORS):
            found[COLLECTED] += round((times.children_user + times.children_system) * 1000)
    return found


def per_job_ms(spent_ms: Counter[str], jobs: int) -> dict[str, float]:
    """CPU milliseconds per job by part, the hungriest first."""
    spent = {part: spent_ms[part] / jobs for part in spent_ms}
    return {part: round(spent[part], 2) for part in sorted(spent, key=lambda name: -spent[name]) if spent[part] >= 0.01}
