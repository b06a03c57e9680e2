"""Owns the filter of system calls inside the sandbox: what no job needs and kernel holes are found in is refused.

A classic BPF program written by hand (seccomp(2)), so that no compiler or libseccomp is needed on a node. It refuses
with an errno, as container engines do; numbers are from the kernel's own syscall tables.
"""

import errno
import os
import struct
from functools import cache

# name -> (x86_64, aarch64); None where the architecture has no such call
_REFUSED: dict[str, tuple[int | None, int | None]] = {
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "fanotify_init": (300, 262),
    "quotactl": (179, 60),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "acct": (163, 89),
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
}
_SOCKET = (41, 198)
_CLONE = (56, 220)
_CLONE3 = 435
_MACHINES = {"x86_64": (0, 0xC000_003E), "aarch64": (1, 0xC000_00B7)}
_X32_BIT = 0x4000_0000
_NEW_NAMESPACES = 0x7E02_0000  # every CLONE_NEW* flag of clone(2)
# unix, IPv4, IPv6, netlink: a VM's host (AF_VSOCK) and the kernel's crypto (AF_ALG) know no network namespace.
_SOCKET_FAMILIES = (1, 2, 10, 16)

_ALLOW = 0x7FFF_0000
_KILL = 0x8000_0000
_ERRNO = 0x0005_0000
_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_IF_ANY_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN = 0x06
# Offsets in struct seccomp_data.
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16


@cache
def filter_program(machine: str | None = None) -> bytes | None:
    """The program for a machine as uname names it; None for one whose numbers are not known here."""
    known = _MACHINES.get(machine or os.uname().machine)
    if known is None:
        return None
    column, architecture = known
    refuse = _ERRNO | errno.EPERM
    program = [
        _one(_LOAD, _ARCHITECTURE),
        _one(_IF_EQUAL, architecture, then=1),
        _one(_RETURN, _KILL),
        _one(_LOAD, _NUMBER),
    ]
    if column == 0:
        program += [_one(_IF_ANY_BIT, _X32_BIT, otherwise=1), _one(_RETURN, refuse)]
    # libc falls back to clone, whose flags can be looked at.
    program += [_one(_IF_EQUAL, _CLONE3, otherwise=1), _one(_RETURN, _ERRNO | errno.ENOSYS)]
    for numbers in _REFUSED.values():
        number = numbers[column]
        if number is not None:
            program += [_one(_IF_EQUAL, number, otherwise=1), _one(_RETURN, refuse)]
    program += [
        _one(_IF_EQUAL, _CLONE[column], otherwise=4),
        _one(_LOAD, _FIRST_ARGUMENT),
        _one(_IF_ANY_BIT, _NEW_NAMESPACES, otherwise=1),
        _one(_RETURN, refuse),
        _one(_RETURN, _ALLOW),
    ]
    families = len(_SOCKET_FAMILIES)
    program += [_one(_IF_EQUAL, _SOCKET[column], otherwise=families + 2), _one(_LOAD, _FIRST_ARGUMENT)]
    program += [_one(_IF_EQUAL, family, then=families - place) for place, family in enumerate(_SOCKET_FAMILIES)]
    program += [_one(_RETURN, _ERRNO | errno.EAFNOSUPPORT), _one(_RETURN, _ALLOW)]
    return b"".join(program)


def _one(code: int, value: int, *, then: int = 0, otherwise: int = 0) -> bytes:
    """struct sock_filter: what to do, how far to jump when it holds and when not, with which value."""
    return struct.pack("=HBBI", code, then, otherwise, value)
