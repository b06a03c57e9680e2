"""Owns the few Linux calls that Python 3.11 lacks: namespaces, mounts and prctl, through libc.

Standard library only: the minder imports this in its first milliseconds.
"""

# ruff: noqa: PTH123

import ctypes
import os

CLONE_NEWNS = 0x0002_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000

MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x4_0000
MS_SLAVE = 0x8_0000
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8

_MNT_DETACH = 2
_PR_SET_NO_NEW_PRIVS = 38
_CAP_SYS_ADMIN = 21
_CAP_SETGID = 6
_CAP_SETUID = 7
_CAP_CHOWN = 0

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Put this process (for a PID namespace: its next child) into new namespaces."""
    _checked(_libc.unshare(ctypes.c_int(flags)), f"unshare({flags:#x})")


def enter(namespace_fd: int, kind: int) -> None:
    """Join the namespace behind an open /proc/PID/ns/... descriptor."""
    _checked(_libc.setns(ctypes.c_int(namespace_fd), ctypes.c_int(kind)), f"setns({kind:#x})")


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """mount(2); a bind mount takes no kind."""
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind, options)]
    result = _libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3])
    _checked(result, f"mount {source} on {target}")


def detach(target: str) -> None:
    """Take a mount and all below it out of this mount namespace, in use or not."""
    _checked(_libc.umount2(os.fsencode(target), _MNT_DETACH), f"detach {target}")


def forbid_new_privileges() -> None:
    """From here on no exec gains a privilege: setuid bits and file capabilities add nothing to what one has."""
    _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")


def unshare_as_user(flags: int) -> None:
    """Unshare behind a user namespace of one's own in which uid and gid stay what they are."""
    uid, gid = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER | flags)
    # Without this the kernel refuses an unprivileged gid_map.
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{uid} {uid} 1")
    _write("/proc/self/gid_map", f"{gid} {gid} 1")


def unshare_anyhow(flags: int) -> None:
    """Unshare directly with the right to, else behind a user namespace."""
    if may_unshare():
        unshare(flags)
    else:
        unshare_as_user(flags)


def may_unshare() -> bool:
    """Whether this process needs no user namespace of its own for that."""
    return holds_capability(_CAP_SYS_ADMIN)


def holds_capability(number: int) -> bool:
    """Whether this process holds a capability in its own user namespace."""
    with open("/proc/self/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> number & 1)
    return False


def can_act_as(uid_first: int, count: int) -> bool:
    """Whether this process may become any uid of a range: real root can, a container's root often cannot."""
    if not all(holds_capability(number) for number in (_CAP_CHOWN, _CAP_SETUID, _CAP_SETGID, _CAP_SYS_ADMIN)):
        return False
    return all(_mapped(path, uid_first, count) for path in ("/proc/self/uid_map", "/proc/self/gid_map"))


def _mapped(path: str, first: int, count: int) -> bool:
    with open(path, encoding="ascii") as lines:
        for line in lines:
            inside, _, length = (int(field) for field in line.split())
            if inside <= first and first + count <= inside + length:
                return True
    return False


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode("ascii"))
    finally:
        os.close(descriptor)
