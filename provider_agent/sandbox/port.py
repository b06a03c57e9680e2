"""Owns the port of every sandbox: from what a customer wants run to the command that a minder executes."""

import resource
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from provider_agent.minder.orders import Command, Order

MEBIBYTE = 1024 * 1024
PROCESSES_MAX = 4096
WORK = Path("/work")  # where a sandboxed command finds its files, and leaves its outputs


@dataclass(frozen=True, slots=True)
class Limits:
    """What an attempt may use. cpus may be a fraction; disk is bounded by the minder (see Order.disk_bytes_max)."""

    cpus: float
    memory_bytes: int
    processes_max: int = PROCESSES_MAX
    scratch_bytes: int = 1024 * MEBIBYTE  # /tmp and /dev/shm, each; it counts as memory


@dataclass(frozen=True, slots=True)
class Request:
    """One command to be run.

    slot: a number of this node no other live attempt has; it decides the host uid. devices: the device nodes of the
    leased GPUs and nothing else. environment: the customer's, over the sandbox's own defaults.
    """

    attempt_id: str
    argv: tuple[str, ...]
    workdir: Path
    slot: int
    limits: Limits
    environment: dict[str, str] = field(default_factory=dict)
    devices: tuple[Path, ...] = ()


class Sandbox(Protocol):
    """Builds commands. `bounds` says in words what holds each limit, for the node's checklist."""

    kind: str

    def bounds(self) -> dict[str, str]:
        """What is enforced and by what, e.g. memory: 'cgroup v1'."""

    def prepare(self, request: Request) -> Command:
        """Ready the workdir and the groups of an attempt (they exist from now on) and build its command."""

    def clean_up(self, order: Order) -> None:
        """Remove what the attempt left on the host besides its folder; may be called again, and after a lost minder.

        Quick: as a rule the minder has done it.
        """


def data_limited(memory_bytes: int) -> tuple[str, ...]:
    """What comes before a command whose processes may each hold no more data than that, where no group holds them.

    Before the walls of one, in the platform's environment: the customer's could keep it from being set.
    """
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    most = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
    return "/usr/bin/prlimit", f"--data={most}:{most}", "--"


def thread_environment(cpus: float) -> dict[str, str]:
    """Numeric libraries start a thread per core of the host unless told how many the job has."""
    threads = str(max(1, round(cpus)))
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_MAX_THREADS")
    return dict.fromkeys(names, threads)
