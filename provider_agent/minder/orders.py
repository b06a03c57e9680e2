"""Owns what lies in an attempt folder as typed records: the agent writes orders and reads usage and outcomes here.

attempts/<attempt>/           0700, the agent's user
    order.json                Order, written last: an attempt without it was never ordered
    environment.json          the command's environment and descriptors; the minder removes it once it has read it
    deadline                  "<CLOCK_BOOTTIME ns> <boot id>"; missing, garbled or of another boot = kill
    stop.json                 {"grace_ms": n}: SIGTERM, then SIGKILL after the grace
    minder.lock               POSIX record locks: byte 0 while starting, byte 1 while the minder lives; its content is
                              what the minder complained about, nothing as a rule
    started                   a second name of that file; an attempt that has it is never started again
    output.log                stdout and stderr in order, append-only, bounded
    usage.json                Usage, about once a second while it runs
    outcome.json              Outcome; present only when nothing of the attempt runs any more
    work/                     by convention: the command's /work
"""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from provider_agent.minder import layout

LOG_BYTES_MAX = 64 * 1024 * 1024


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Bind(_Record):
    """A folder that only root can reach, shown at <stage>/<name> to the command's own user."""

    source: Path
    name: str


class Stage(_Record):
    """Mounts made by root in a mount namespace of the command's own, before it becomes an unprivileged user."""

    at: Path
    binds: tuple[Bind, ...]


class Cgroup(_Record):
    """Which groups the command is born in, where its minder belongs, which folders go when it has ended, and where its
    counters are read.

    files: cpu_time, memory_peak and out_of_memory, as far as the machine has them. quota: the file that bounds the CPU
    and what to write into it once the sandbox stands: until then the group has a core, for building it is not the
    customer's work.
    """

    join: tuple[Path, ...] = ()
    leave: tuple[Path, ...] = ()
    folders: tuple[Path, ...] = ()
    files: dict[str, Path] = {}
    quota: tuple[Path, str] | None = None


class Command(_Record):
    """What the minder executes: made by a sandbox, never by hand.

    sandbox_levels: how many processes of the sandbox itself stand between the minder and the customer's command;
    memory_watch_bytes: the minder's own memory bound, where no cgroup holds one.
    environment and descriptors (contents readable at their numbers) are secret: they go to a file of their own.
    """

    argv: tuple[str, ...]
    environment: dict[str, str] = Field(exclude=True, default={})
    descriptors: dict[int, str] = Field(exclude=True, default={})
    directory: Path
    uid: int | None = None
    stage: Stage | None = None
    cgroup: Cgroup = Cgroup()
    sandbox_levels: int = 0
    memory_watch_bytes: int | None = None


class Order(_Record):
    """One attempt as the minder gets it. disk_bytes_max bounds what lies under workdir, None = unbounded.

    job_id and trace: what it is about, for people who look for it on the node; outcome.json says them again.
    """

    attempt_id: str
    job_id: str = ""
    trace: str | None = None
    command: Command
    workdir: Path
    slot: int | None = None
    disk_bytes_max: int | None = None
    log_bytes_max: int = LOG_BYTES_MAX


class Usage(_Record):
    """Cumulative counters of an attempt; they never go back."""

    run_ms: int
    cpu_ms: int
    memory_peak_bytes: int
    at_boottime_ns: int = 0


class Cause(StrEnum):
    """Why an attempt ended on its node."""

    EXITED = "exited"
    SIGNAL = "signal"
    DEADLINE = "deadline"
    STOPPED = "stopped"
    OUT_OF_MEMORY = "out_of_memory"
    OUT_OF_DISK = "out_of_disk"
    NOT_STARTED = "not_started"


class Outcome(_Record):
    """How an attempt ended. exit_code: 128 + N after signal N; None if the command never ran or was outlived."""

    cause: Cause
    exit_code: int | None
    detail: str
    ended_unix_ns: int
    ended_boottime_ns: int
    log_bytes: int
    log_bytes_dropped: int
    usage: Usage


class UnreadableFile(Exception):
    """A file of an attempt folder does not say what it should."""


def write_order(attempt_dir: Path, order: Order, deadline_boottime_ns: int) -> None:
    """Lay down all that the minder needs; the order comes last, so a folder with one is complete."""
    attempt_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    secrets = _Secrets(environment=order.command.environment, descriptors=order.command.descriptors)
    _replace(attempt_dir, layout.ENVIRONMENT, secrets.model_dump_json().encode())
    write_deadline(attempt_dir, deadline_boottime_ns)
    _replace(attempt_dir, layout.ORDER, order.model_dump_json().encode())


def write_deadline(attempt_dir: Path, deadline_boottime_ns: int) -> None:
    """The moment on CLOCK_BOOTTIME at which the minder kills; counted from when the renewal was sent."""
    _replace(attempt_dir, layout.DEADLINE, layout.deadline_text(deadline_boottime_ns).encode())


def write_stop(attempt_dir: Path, grace_seconds: float) -> None:
    _replace(attempt_dir, layout.STOP, b'{"grace_ms": %d}' % max(0, round(grace_seconds * 1000)))


def read_order(attempt_dir: Path) -> Order | None:
    """The order as written, without what was secret of it; None when the attempt was never ordered."""
    return _read(attempt_dir, layout.ORDER, Order)


def read_deadline(attempt_dir: Path) -> int | None:
    """The deadline on disk, in CLOCK_BOOTTIME nanoseconds; None when the minder would kill for want of one."""
    content = _content(attempt_dir, layout.DEADLINE)
    return None if content is None else layout.parse_deadline(content.decode("ascii", "replace"))


def read_usage(attempt_dir: Path) -> Usage | None:
    return _read(attempt_dir, layout.USAGE, Usage)


def read_outcome(attempt_dir: Path) -> Outcome | None:
    return _read(attempt_dir, layout.OUTCOME, Outcome)


def was_started(attempt_dir: Path) -> bool:
    return (attempt_dir / layout.STARTED).exists()


def log_path(attempt_dir: Path) -> Path:
    """The log: it only grows, so an offset into it stays right."""
    return attempt_dir / layout.LOG


class _Secrets(_Record):
    environment: dict[str, str]
    descriptors: dict[int, Annotated[str, Field(max_length=layout.FILE_MAX_BYTES)]]


_T = TypeVar("_T", bound=BaseModel)


def _read(attempt_dir: Path, name: str, kind: type[_T]) -> _T | None:
    content = _content(attempt_dir, name)
    if content is None:
        return None
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise UnreadableFile(f"{attempt_dir / name}: {error}") from None


def _content(attempt_dir: Path, name: str) -> bytes | None:
    folder = _open(attempt_dir)
    if folder is None:
        return None
    try:
        return layout.read_file(folder, name)
    finally:
        os.close(folder)


def _replace(attempt_dir: Path, name: str, content: bytes) -> None:
    folder = os.open(attempt_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        layout.replace_file(folder, name, content, durable=False)
    finally:
        os.close(folder)


def _open(attempt_dir: Path) -> int | None:
    try:
        return os.open(attempt_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
