"""Owns the start of the sandboxed command: one fork, then cgroups, limits, mounts and identity, then exec."""
# ruff: noqa: PTH102

import fcntl
import os
import resource
import signal
from typing import Any

from provider_agent import namespaces

SCRATCH_FD = 200  # above every descriptor a command is given


class CannotStart(Exception):
    """The command never ran; the message says which step failed."""


def start(command: dict[str, Any], secrets: dict[str, Any], output: int) -> int:
    """Fork and exec the command; its pid once it runs, CannotStart when a step before failed."""
    # What can be done before the fork is: the child copies each page that it touches.
    try:
        contents = {int(number): _filled(text) for number, text in secrets.get("descriptors", {}).items()}
    except (OSError, ValueError) as error:
        raise CannotStart(f"prepare: {error}") from None
    reader, writer = os.pipe2(os.O_CLOEXEC)
    writer = _move(writer, SCRATCH_FD)
    pid = os.fork()
    if pid == 0:
        step = ["prepare"]
        try:
            _place_descriptors(contents, output)
            _become(command, secrets["environment"], step)
        except BaseException as error:  # this is the child: whatever happens, it must not go on as its parent
            os.write(writer, f"{step[0]}: {error}"[:2000].encode())
        os._exit(127)
    for descriptor in (writer, *contents.values()):
        os.close(descriptor)
    complaint = b""
    while chunk := os.read(reader, 4096):
        complaint += chunk
    os.close(reader)
    if complaint:
        os.waitpid(pid, 0)
        raise CannotStart(complaint.decode(errors="replace"))
    return pid


def _become(command: dict[str, Any], environment: dict[str, str], step: list[str]) -> None:
    """What the child does between fork and exec, in the one order that works."""
    os.setsid()
    step[0] = "join cgroups"
    for path in command["cgroup"]["join"]:
        _write(path, "0")  # the writer itself, whatever ids its PID namespace has
    step[0] = "score for the kernel's memory killer"
    _write("/proc/self/oom_score_adj", "500")
    step[0] = "set limits"
    for name, value in command["rlimits"].items():
        number = getattr(resource, name)
        hard = resource.getrlimit(number)[1]
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (allowed, allowed))
    step[0] = "mount /proc"
    _mount_own_proc()
    stage = command.get("stage")
    if stage:
        step[0] = "stage mounts"
        _stage(stage)
    step[0] = "change identity"
    if command.get("uid") is not None:
        os.setgroups([])
        os.setresgid(command["uid"], command["uid"], command["uid"])
        os.setresuid(command["uid"], command["uid"], command["uid"])
    namespaces.forbid_new_privileges()
    step[0] = f"enter {command['directory']}"
    os.chdir(command["directory"])
    # Python ignores these two; an ignored signal would stay ignored across exec.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    step[0] = f"exec {command['argv'][0]}"
    os.execve(command["argv"][0], command["argv"], environment)  # noqa: S606 (no shell is the point)


def _filled(text: str) -> int:
    """A file in memory with that content, to be read from its beginning."""
    memory = os.memfd_create("gridbay", os.MFD_CLOEXEC)
    data = text.encode("latin-1")
    while data:
        data = data[os.write(memory, data) :]
    os.lseek(memory, 0, os.SEEK_SET)
    return _move(memory, SCRATCH_FD)


def _place_descriptors(contents: dict[int, int], output: int) -> None:
    """stdin empty, stdout and stderr into the log, then each ordered content readable at its number."""
    output = _move(output, SCRATCH_FD)
    empty = os.open("/dev/null", os.O_RDONLY)
    os.dup2(empty, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for number, memory in contents.items():
        os.dup2(memory, number)


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
