"""Puts the tree into a PID namespace of its own: when its first process dies, by whatever means, the kernel ends all.

"root": directly, with the rights of root. "user": behind a user namespace in which the uid stays what it is. "none":
where the kernel allows neither; then the children are only tied to the supervisor's life, and what they start of
their own is swept up by a supervisor that still lives (see pid_one.py).
"""

import ctypes
import os
import subprocess
from dataclasses import dataclass

from infra.embedded.server import tool

TRY_SECONDS = 20
_PR_SET_CHILD_SUBREAPER = 36
# With a /proc of its own: tools inside must see the pids that they can signal.
_NAMESPACES = ("--pid", "--mount", "--ipc", "--fork", "--kill-child=KILL", "--mount-proc")


@dataclass(frozen=True, slots=True)
class Isolation:
    """name: "root", "user" or "none"; why: for "none", what the kernel said."""

    name: str
    why: str = ""

    def wrap(self, argv: list[str]) -> list[str]:
        """The command that runs argv as the first process of the tree, and that ends all when it is killed itself."""
        if self.name == "none":
            # No death signal: PID 1 sees its control socket close, and stops everything in order.
            return argv
        return [tool("setpriv"), "--pdeathsig", "KILL", "--", *_unshare(self.name), *argv]


def find_isolation() -> Isolation:
    """The strongest isolation this user has on this machine, found by trying."""
    names = ("root", "user") if os.geteuid() == 0 else ("user",)
    said = ""
    for name in names:
        result = subprocess.run(
            [*_unshare(name), "true"], capture_output=True, text=True, timeout=TRY_SECONDS, check=False
        )
        if result.returncode == 0:
            return Isolation(name)
        said = result.stderr.strip()
    return Isolation("none", why=said)


def adopt_orphans() -> None:
    """Make this process the parent of every descendant whose own parent ends, as PID 1 is by nature."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def _unshare(name: str) -> list[str]:
    user = ["--user", "--map-current-user"] if name == "user" else []
    return [tool("unshare"), *user, *_NAMESPACES, "--"]
