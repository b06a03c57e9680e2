"""Runs a command as root or as a plain user, with the very same interpreter, even where that lies in a closed home."""

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

PLAIN_UID = 23_471
# As root both ways are proved; as a plain user there is only one.
USERS = ("root", "plain") if os.geteuid() == 0 else ("plain",)


def as_user(user: str, argv: list[str]) -> list[str]:
    """The command, run as that user: "root", "plain", or "unnamed", which is one that /etc/passwd does not know.

    In a mount namespace of its own, closed folders above the interpreter are opened. It dies with this process.
    """
    if user == "root" or os.geteuid() != 0:
        return ["setpriv", "--pdeathsig", "KILL", "--", *argv]
    become = (
        f"exec setpriv --pdeathsig KILL --reuid={PLAIN_UID} --regid={PLAIN_UID} --clear-groups -- {shlex.join(argv)}"
    )
    needed = sorted({Path(sys.base_prefix), Path(sys.prefix), Path(__file__).resolve().parents[3]})
    script = "\n".join(["set -e", *_opened(needed), *(_named() if user == "plain" else ()), become])
    return ["unshare", "--mount", "--propagation", "private", "--", "sh", "-c", script]


def give_to(user: str, folder: Path) -> None:
    """Make a folder belong to the user."""
    if user != "root" and os.geteuid() == 0:
        os.chown(folder, PLAIN_UID, PLAIN_UID)


def _opened(needed: list[Path]) -> Iterator[str]:
    """Shell commands that put an open folder in place of each closed one, with only the needed paths in it."""
    closed = {
        path: next((up for up in reversed(path.parents) if not up.stat().st_mode & 0o001), None) for path in needed
    }
    hidden = [path for path in needed if closed[path] is not None]
    yield "mount -t tmpfs tmpfs /mnt"
    for number, path in enumerate(hidden):
        yield f"mkdir /mnt/{number} && mount --bind {shlex.quote(str(path))} /mnt/{number}"
    for folder in sorted({str(closed[path]) for path in hidden}):
        yield f"mount -t tmpfs -o mode=0755 tmpfs {shlex.quote(folder)}"
    for number, path in enumerate(hidden):
        yield f"mkdir -p {shlex.quote(str(path))} && mount --bind /mnt/{number} {shlex.quote(str(path))}"


def _named() -> Iterator[str]:
    yield f"(cat /etc/passwd; echo plain:x:{PLAIN_UID}:{PLAIN_UID}::/:/bin/sh) > /mnt/passwd"
    yield "mount --bind /mnt/passwd /etc/passwd"
