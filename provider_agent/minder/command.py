"""Owns the start of the sandboxed command: cgroups, mounts and identity put on, then a spawn, then taken off again."""
# ruff: noqa: PTH102

import fcntl
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from provider_agent import namespaces
from provider_agent.minder import layout

SCRATCH_FD = 200  # above every descriptor a command is given
_MOUNTS = "/proc/self/ns/mnt"


class CannotStart(Exception):
    """The command never ran; the message says which step failed."""


def lean_mounts() -> int | None:
    """A mount namespace to start commands from, without /sys; None where this process may not make one.

    No sandbox shows /sys, most of a machine's mounts lie there (a cgroup tree each), and bubblewrap reads the list of
    all mounts for each one that it makes: 3 of its 12 ms. It is made once, since to detach them costs what it saves.
    """
    if not namespaces.may_unshare():
        return None
    own = os.open(_MOUNTS, os.O_RDONLY | os.O_CLOEXEC)
    try:
        namespaces.unshare(namespaces.CLONE_NEWNS)
        # What the machine mounts later appears here too.
        namespaces.mount("none", "/", None, namespaces.MS_REC | namespaces.MS_SLAVE)
        try:
            namespaces.detach("/sys")
            return _move(os.open(_MOUNTS, os.O_RDONLY | os.O_CLOEXEC), SCRATCH_FD)
        except OSError:
            return None  # in a container they may be locked together
        finally:
            namespaces.enter(own, namespaces.CLONE_NEWNS)
    finally:
        os.close(own)


def start(command: dict[str, Any], secrets: dict[str, Any], output: int, mounts: int | None) -> int:
    """Start the command as a child of this process; its pid once it runs, CannotStart when a step before failed.

    Nothing is forked in Python: each page that either touched was copied then, 5 of a launch's 30 ms. The minder puts
    on what the command is to inherit, has the C library spawn it, and takes off again what a minder may not wear.
    """
    with _doing("prepare"):
        contents = {int(number): _filled(text) for number, text in secrets.get("descriptors", {}).items()}
        # These it keeps: they hinder nothing of a minder's.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        namespaces.forbid_new_privileges()
    try:
        with _in_cgroups(command["cgroup"]), _first_to_kill(), _in_mounts(command.get("stage"), mounts):
            with _doing(f"enter {command['directory']}"):
                os.chdir(command["directory"])
            with _as_user(command.get("uid")), _doing(f"exec {command['argv'][0]}"):
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
def _in_cgroups(cgroup: dict[str, Any]) -> Iterator[None]:
    """In the attempt's groups: what is started is born in them. Who goes by itself ("0") waits for nobody."""
    try:
        with _doing("join cgroups"):
            for path in cgroup["join"]:
                _write(path, "0")
        yield
    finally:
        with _doing("leave cgroups"):
            for path in cgroup["leave"]:
                _write(path, "0")


@contextmanager
def _first_to_kill() -> Iterator[None]:
    """With a score that has the kernel's memory killer take the command before anything of the platform."""
    path = "/proc/self/oom_score_adj"
    with _doing("score for the kernel's memory killer"):
        own = layout.read_all(os.open(path, os.O_RDONLY | os.O_CLOEXEC)).decode()
        _write(path, "500")
    try:
        yield
    finally:
        with _doing("score as before"):
            _write(path, own)


@contextmanager
def _in_mounts(stage: dict[str, Any] | None, lean: int | None) -> Iterator[None]:
    """In a mount namespace for the command. The minder comes back from a lean one: it needs /sys."""
    with _doing("mounts of its own"):
        own = os.open(_MOUNTS, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with _doing("mounts of its own"):
            if lean is not None:
                namespaces.enter(lean, namespaces.CLONE_NEWNS)
            _mount_own_proc()
        if stage:
            with _doing("stage mounts"):
                _stage(stage)
        yield
    finally:
        if lean is not None:
            with _doing("mounts as before"):
                namespaces.enter(own, namespaces.CLONE_NEWNS)
        os.close(own)


@contextmanager
def _as_user(uid: int | None) -> Iterator[None]:
    """With the command's own user as the real one, whom alone POSIX_SPAWN_RESETIDS leaves in the child."""
    if uid is None:
        yield
        return
    with _doing("change identity"):
        os.setgroups([])
        os.setresgid(uid, -1, -1)
        os.setresuid(uid, -1, -1)
    try:
        yield
    finally:
        with _doing("identity as before"):
            os.setresuid(0, -1, -1)
            os.setresgid(0, -1, -1)


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
    return _move(memory, SCRATCH_FD)


def _mount_own_proc() -> None:
    """A /proc of the minder's PID namespace, in a mount namespace of the command's own.

    The one it would have shows an outer namespace's numbers: bubblewrap would look at a stranger of the same number,
    or fail where there is none, and so would every program that looks itself up.
    """
    namespaces.unshare(namespaces.CLONE_NEWNS)
    namespaces.mount("none", "/", None, namespaces.MS_REC | namespaces.MS_PRIVATE)
    namespaces.mount("proc", "/proc", "proc", namespaces.MS_NOSUID | namespaces.MS_NODEV | namespaces.MS_NOEXEC)


def _stage(stage: dict[str, Any]) -> None:
    """Show what only root can reach at paths anyone can pass through.

    The sources are opened before the new mount covers anything, and bound by descriptor.
    """
    sources = [(os.open(bind["source"], os.O_PATH | os.O_CLOEXEC), bind["name"]) for bind in stage["binds"]]
    at = stage["at"]
    namespaces.mount("tmpfs", at, "tmpfs", namespaces.MS_NOSUID | namespaces.MS_NODEV, "size=64k,mode=755")
    for descriptor, name in sources:
        target = f"{at}/{name}"
        os.mkdir(target, 0o755)
        namespaces.mount(f"/proc/self/fd/{descriptor}", target, None, namespaces.MS_BIND | namespaces.MS_REC)
        os.close(descriptor)


def _move(descriptor: int, lowest: int) -> int:
    """The same open file at a number at or above one, closed on exec."""
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, lowest)
    os.close(descriptor)
    return moved


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
