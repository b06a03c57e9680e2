"""Forks minders: a process that has everything a minder needs loaded and does nothing else, so that a start takes 3 ms.

Run as `python -I -S nursery.py` with a SOCK_SEQPACKET socket as stdin. A message is an attempt folder's path, with two
descriptors: a pipe to tell how the start went, and a file for complaints. It ends when nobody holds the other end any
more; minders live on. Standard library only, one thread: it forks.
"""
# ruff: noqa: PTH100, PTH120

import gc
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable

# -I leaves this folder's package off the path; it goes last, so that nothing in it can stand in for the library.
sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from provider_agent import namespaces
from provider_agent.minder import layout, process

DESCRIPTORS = 2


def main() -> None:
    """Fork for each message until the last asker is gone."""
    # Whoever starts a minder ends at once; the kernel collects them.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    asked = socket.socket(fileno=0)
    # What each fork needs, and would find out again.
    layout.boot_id()
    unshare = namespaces.unshare if namespaces.may_unshare() else namespaces.unshare_as_user
    # What is loaded stays shared with every fork: the collector does not write to it any more.
    gc.collect()
    gc.freeze()
    while True:
        path, descriptors, _, _ = socket.recv_fds(asked, layout.PATH_MAX_BYTES, DESCRIPTORS)
        if not path:
            return
        if len(descriptors) == DESCRIPTORS and os.fork() == 0:
            _begin(unshare, os.fsdecode(path), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _begin(unshare: Callable[[int], None], path: str, tell: int, errors: int) -> None:
    """In the fork: have the minder forked into a PID namespace, and end at once, so that it is nobody's child."""
    try:
        unshare(namespaces.CLONE_NEWPID)
        if os.fork() == 0:
            _become(path, tell, errors)
    except OSError as error:
        os.write(errors, f"{error}\n".encode())
    finally:
        os._exit(0)


def _become(path: str, tell: int, errors: int) -> None:
    """In its fork: become what a freshly started program would be, then the minder, and end."""
    status = process.FAILED
    try:
        try:
            os.setsid()
            os.dup2(os.open(os.devnull, os.O_RDWR), 0)  # the nursery's own socket
            os.dup2(errors, 2)
            os.close(errors)
            os.set_inheritable(tell, False)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            status = process.start(path, tell)
        except BaseException:
            traceback.print_exc()
        if status:
            os.write(tell, bytes([status]))
    finally:
        os._exit(status)  # whatever happens, it must not go on as the nursery


if __name__ == "__main__":
    main()
