"""Owns the network namespace of a pool: `enter.py new COMMAND...` makes one, `enter.py join PID COMMAND...` enters it.

Run with `python -I -S`, standard library only; a plain user gets a user namespace around it. Inside there is loopback
and nothing else, so no port of Ray can be reached from anywhere outside the pool.
"""
# ruff: noqa: PTH100, PTH120

import fcntl
import os
import socket
import struct
import sys

sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from provider_agent import namespaces

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_CAP_SYS_ADMIN = 21


def main(arguments: list[str]) -> None:
    if arguments[0] == "new":
        namespaces.unshare_anyhow(namespaces.CLONE_NEWNET)
        _raise_loopback()
        command = arguments[1:]
    else:
        _join(arguments[1])
        command = arguments[2:]
    os.execv(command[0], command)  # noqa: S606 (no shell is the point)


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack("16xh14x", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, asked))
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))


def _join(pid: str) -> None:
    """pid: as /proc shows it. The user namespace first: only its owner, a plain user, may then enter the other."""
    network = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    if not namespaces.holds_capability(_CAP_SYS_ADMIN):
        user = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        namespaces.enter(user, namespaces.CLONE_NEWUSER)
    namespaces.enter(network, namespaces.CLONE_NEWNET)


if __name__ == "__main__":
    main(sys.argv[1:])
