"""Owns the start of the sandboxed command: mounts, identity and groups put on, then a spawn, then taken off again."""

import os
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from provider_agent import namespaces
from provider_agent.minder import layout
from provider_agent.minder.mounts import LeanMounts, own_mounts


class CannotStart(Exception):
    """The command does not run, or was ended at once; the message says which step failed."""


def start(command: dict[str, Any], secrets: dict[str, Any], output: int, lean: LeanMounts | None) -> int:
    """Start the command as a child of this process; its pid once it runs. Raises CannotStart: then kill what is below.

    Nothing is forked in Python: each page that either touched was copied then, 4 of a launch's 30 ms. The minder puts
    on what the command is to inherit, has the C library spawn it, and takes off again what a minder may not wear.
    """
    with _doing("prepare"):
        contents = {int(number): _filled(text) for number, text in secrets.get("descriptors", {}).items()}
        # These it keeps: they hinder nothing of a minder's.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        namespaces.forbid_new_privileges()
    # A sandbox brings mounts of its own; without one the command sees the machine's, /sys too.
    lean = lean if command["sandbox_levels"] else None
    try:
        with (
            _opened(command["cgroup"]["join"]) as join,
            _opened(command["cgroup"]["leave"]) as leave,
            _first_to_kill(),
            _doing("mounts of its own"),
            own_mounts(command.get("stage"), lean),
        ):
            with _doing(f"enter {command['directory']}"):
                os.chdir(command["directory"])
            with _as_user(command.get("uid")), _in_cgroups(join, leave), _doing(f"exec {command['argv'][0]}"):
                return os.posix_spawn(
                    command["argv"][0],
                    command["argv"],
                    secrets["environment"],
                    file_actions=_placed(contents, output),
                    resetids=True,
                    setsid=True,
                    # Python ignores these; an ignored signal would stay ignored across exec.
                    setsigdef=(signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT),
                )
    finally:
        for descriptor in contents.values():
            os.close(descriptor)


@contextmanager
def _doing(step: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise CannotStart(f"{step}: {error}") from None


@contextmanager
def _undone(step: str, undo: Callable[[], None]) -> Iterator[None]:
    """Undo it at the end; what went wrong before is told rather than what goes wrong in that."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            undo()
        raise
    with _doing(step):
        undo()


@contextmanager
def _opened(groups: Sequence[str]) -> Iterator[list[int]]:
    """The files by which groups are joined; where the command's mounts begin they may be out of sight."""
    descriptors: list[int] = []
    try:
        with _doing("find cgroups"):
            descriptors += [os.open(path, os.O_WRONLY | os.O_CLOEXEC) for path in groups]
        yield descriptors
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


@contextmanager
def _in_cgroups(join: Sequence[int], leave: Sequence[int]) -> Iterator[None]:
    """In the attempt's groups, just for the spawn: the command is born in them. Who goes by itself waits for nobody."""
    with _undone("leave cgroups", lambda: _go_into(leave)):
        with _doing("join cgroups"):
            _go_into(join)
        yield


def _go_into(groups: Sequence[int]) -> None:
    for descriptor in groups:
        os.write(descriptor, b"0")  # the writer itself, whatever ids its PID namespace has


@contextmanager
def _first_to_kill() -> Iterator[None]:
    """With a score that has the kernel's memory killer take the command before anything of the platform."""
    path = "/proc/self/oom_score_adj"
    with _doing("score for the kernel's memory killer"):
        own = layout.read_all(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        _write(path, b"500")
    with _undone("score as before", lambda: _write(path, own)):
        yield


@contextmanager
def _as_user(uid: int | None) -> Iterator[None]:
    """With the command's own user as the real and the saved one, which alone POSIX_SPAWN_RESETIDS leaves in the child.

    While any of the three were root's, the kernel would not take the capabilities away.
    """
    if uid is None:
        yield
        return
    users, groups = os.getresuid(), os.getresgid()

    def undo() -> None:
        os.setresuid(users[0], -1, users[2])
        os.setresgid(groups[0], -1, groups[2])

    with _undone("identity as before", undo):
        with _doing("change identity"):
            os.setgroups([])
            os.setresgid(uid, -1, uid)
            os.setresuid(uid, -1, uid)
        yield


def _placed(contents: dict[int, int], output: int) -> list[tuple[int, ...] | tuple[int, int, str, int, int]]:
    """stdin empty, stdout and stderr into the log, then each ordered content readable at its number."""
    return [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_DUP2, output, 2),
        *((os.POSIX_SPAWN_DUP2, memory, number) for number, memory in contents.items()),
    ]


def _filled(text: str) -> int:
    """A file in memory with that content, to be read from its beginning."""
    memory = os.memfd_create("gridbay", os.MFD_CLOEXEC)
    data = text.encode("latin-1")
    while data:
        data = data[os.write(memory, data) :]
    os.lseek(memory, 0, os.SEEK_SET)
    return layout.above_all(memory)


def _write(path: str, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
