"""Owns the mount namespace that a command starts in: its own, with a /proc that is true in it, and what root stages."""
# ruff: noqa: PTH102, PTH116

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from provider_agent import namespaces
from provider_agent.minder import layout

_NAMESPACE, _LIST = "/proc/self/ns/mnt", "/proc/self/mountinfo"


class LeanMounts:
    """A mount namespace without /sys to start sandboxes from, good as long as the machine's mounts stay as they are.

    Bubblewrap shows no /sys, most of a machine's mounts lie there (a cgroup tree each), and it reads the list of all
    mounts for each one that it makes: 3 of its 12 ms. Made ahead, since to detach them costs what it saves.
    """

    def __init__(self, descriptor: int, made_of: bytes) -> None:
        self.descriptor, self._made_of = descriptor, made_of

    def is_current(self) -> bool:
        """Whether nothing was mounted or unmounted since, which might be missing here, or might be here still."""
        return _listed() == self._made_of

    def renewed(self) -> "LeanMounts | None":
        """This one, or another where it is not current."""
        if self.is_current():
            return self
        os.close(self.descriptor)
        return lean_mounts()


def lean_mounts() -> LeanMounts | None:
    """None where this process may not make one, or could not come back from it."""
    if not namespaces.may_unshare():
        return None
    made_of = _listed()
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            maker = os.fork()
            if maker == 0:
                _make(theirs)
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
    with suppress(ChildProcessError):
        os.waitpid(maker, 0)
    return LeanMounts(layout.above_all(descriptors[0]), made_of) if descriptors else None


def _make(theirs: socket.socket) -> None:
    """In a fork, so that whoever makes one stays where it is; hand over what was made, or nothing."""
    try:
        root = os.stat("/")
        # The way back of each minder: nothing of it may be forbidden, nor lead out of a chroot.
        namespaces.enter(os.open(_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC), namespaces.CLONE_NEWNS)
        if os.path.samestat(root, os.stat("/")):
            namespaces.unshare(namespaces.CLONE_NEWNS)
            namespaces.mount("none", "/", None, namespaces.MS_REC | namespaces.MS_SLAVE)
            namespaces.detach("/sys")
            socket.send_fds(theirs, [b"+"], [os.open(_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)])
    except OSError:
        pass  # in a container they may be locked together
    finally:
        os._exit(0)


@contextmanager
def own_mounts(stage: dict[str, Any] | None, lean: LeanMounts | None) -> Iterator[None]:
    """In a mount namespace for the command. From a lean one the minder comes back: it needs /sys. Raises OSError."""
    own = os.open(_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
    comes_back = lean is not None and lean.is_current()
    try:
        if lean is not None and comes_back:
            namespaces.enter(lean.descriptor, namespaces.CLONE_NEWNS)
        _mount_own_proc()
        if stage:
            _stage(stage)
        yield
    finally:
        if comes_back:
            namespaces.enter(own, namespaces.CLONE_NEWNS)
        os.close(own)


def _mount_own_proc() -> None:
    """A /proc of the minder's PID namespace.

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


def _listed() -> bytes:
    return layout.read_all(os.open(_LIST, os.O_RDONLY | os.O_CLOEXEC))
