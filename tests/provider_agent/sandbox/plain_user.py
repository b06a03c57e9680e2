"""Runs a command as a plain user with this very interpreter, also where that lies in a home closed to others."""

import os
import shlex
import sys
from pathlib import Path

PLAIN_UID = 64_222
_PROJECT = Path(__file__).parents[3]


def as_plain_user(argv: list[str]) -> list[str]:
    """As root: in a mount namespace where closed folders above what is needed show only what is needed."""
    if os.geteuid() != 0:
        return argv
    needed = sorted({Path(sys.base_prefix), Path(sys.prefix), _PROJECT})
    closed = {path: _closed_above(path) for path in needed}
    hidden = [path for path in needed if closed[path]]
    lines = ["set -e", "mount -t tmpfs tmpfs /mnt"]
    for number, path in enumerate(hidden):
        lines.append(f"mkdir /mnt/{number}; mount --bind {shlex.quote(str(path))} /mnt/{number}")
    lines += [
        f"mount -t tmpfs -o mode=0755 tmpfs {shlex.quote(str(folder))}" for folder in set(closed.values()) if folder
    ]
    for number, path in enumerate(hidden):
        lines.append(f"mkdir -p {shlex.quote(str(path))}; mount --bind /mnt/{number} {shlex.quote(str(path))}")
    lines.append(f"exec setpriv --reuid={PLAIN_UID} --regid={PLAIN_UID} --clear-groups -- {shlex.join(argv)}")
    return ["unshare", "--mount", "--propagation", "private", "--", "sh", "-c", "\n".join(lines)]


def _closed_above(path: Path) -> Path | None:
    return next((up for up in reversed(path.parents) if not up.stat().st_mode & 0o001), None)
