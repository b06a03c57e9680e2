"""Forks minders: a process that has everything a minder needs loaded and does nothing else, so that a start takes 2 ms.

Run as `python -I -S nursery.py` with a SOCK_SEQPACKET socket as stdin. A message is an attempt folder's path, with two
descriptors: a pipe to tell how the start went, and a file for complaints. One fork at a time waits for a message, takes
it and becomes the minder; then there is another. The last one finds that nobody holds the other end any more, and the
nursery ends with it; minders live on. It is no child of who begins it, so minders are not below that either.

Standard library only, one thread, few modules: what is loaded is copied, page by page, as forks touch it.
"""
# ruff: noqa: PTH100, PTH120

import gc
import os
import signal
import socket
import sys
from contextlib import suppress

# -I leaves this folder's package off the path; it goes last, so that nothing in it can stand in for the library.
sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from provider_agent import namespaces
from provider_agent.minder import layout, process
from provider_agent.minder.mounts import LeanMounts, lean_mounts

DESCRIPTORS = 2
TAKEN = b"+"


def main() -> None:
    """Have one minder wait after the other until the last asker is gone."""
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGCHLD, _collect)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asked = socket.socket(fileno=0)
    # What each fork needs, and would find out again.
    layout.boot_id()
    back = _way_back()
    lean = lean_mounts()
    # What is loaded stays shared with every fork: the collector does not write to it any more.
    gc.collect()
    gc.freeze()
    while _next_was_asked(asked, back, lean):
        lean = lean.renewed() if lean is not None else None


def _collect(*_: object) -> None:
    """Minders that ended: waited for, so that what they used counts."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _way_back() -> int | None:
    """This process's own PID namespace, if it can come back to it after it made one for a child."""
    if not namespaces.may_unshare():
        return None
    own = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        namespaces.enter(own, namespaces.CLONE_NEWPID)
    except OSError:
        return None
    return own


def _next_was_asked(asked: socket.socket, back: int | None, lean: LeanMounts | None) -> bool:
    """Wait with the next minder for its message; False when it met nobody any more, or could not be forked."""
    heard, tell = os.pipe2(os.O_CLOEXEC)
    try:
        if _fork_first(asked, back):
            os.close(heard)
            _await_message(asked, tell, lean)
    except OSError as error:
        _refuse(asked, error)
    os.close(tell)
    answer = os.read(heard, len(TAKEN))
    os.close(heard)
    return answer == TAKEN


def _fork_first(asked: socket.socket, back: int | None) -> bool:
    """Fork a process that is the first of a PID namespace; True in it. Raises OSError."""
    if back is not None:
        namespaces.unshare(namespaces.CLONE_NEWPID)
        if os.fork() == 0:
            return True
        namespaces.enter(back, namespaces.CLONE_NEWPID)
        return False
    # There is no way back through a user namespace: a child goes in, and ends when it has forked.
    if os.fork() == 0:
        try:
            namespaces.unshare_anyhow(namespaces.CLONE_NEWPID)
            if os.fork() == 0:
                return True
        except OSError as error:
            _refuse(asked, error)
        os._exit(0)
    return False


def _refuse(asked: socket.socket, error: OSError) -> None:
    """No minder can be: who asks next is told why."""
    _, descriptors, _, _ = socket.recv_fds(asked, layout.PATH_MAX_BYTES, DESCRIPTORS)
    for descriptor in descriptors[1:]:
        os.write(descriptor, f"{error}\n".encode())
    for descriptor in descriptors:
        os.close(descriptor)


def _await_message(asked: socket.socket, taken: int, lean: LeanMounts | None) -> None:
    """In the fork: take one message, become what a freshly started program would be, then the minder, and end."""
    status = process.FAILED
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        path, descriptors, _, _ = socket.recv_fds(asked, layout.PATH_MAX_BYTES, DESCRIPTORS)
        if path:
            os.write(taken, TAKEN)
            os.close(taken)
            tell, errors = descriptors
            status = _become(os.fsdecode(path), tell, errors, lean)
    finally:
        os._exit(status)  # whatever happens, it must not go on as the nursery


def _become(path: str, tell: int, errors: int, lean: LeanMounts | None) -> int:
    status = process.FAILED
    try:
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)  # the nursery's own socket
        os.dup2(errors, 2)
        os.close(errors)
        os.set_inheritable(tell, False)
        status = process.start(path, tell, lean)
    except BaseException:
        import traceback  # noqa: PLC0415 (half a megabyte that each fork would copy)

        traceback.print_exc()
    if status:
        os.write(tell, bytes([status]))
    return status


if __name__ == "__main__":
    main()
