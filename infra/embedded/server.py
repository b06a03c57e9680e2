"""The port that both embedded servers fill, and how one is started so that it dies with the process that started it."""

import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

from infra.embedded.errors import EmbeddedServerError
from infra.embedded.probe import Probe


class Server(Protocol):
    """A server of one folder and one port: prepare it, then run its argv in the foreground."""

    @property
    def stop_signal(self) -> signal.Signals: ...

    def prepare(self) -> None:
        """Make or mend everything the server needs to start. Raises EmbeddedServerError."""

    def argv(self) -> list[str]: ...

    def env(self) -> dict[str, str]: ...

    def probe(self) -> Probe: ...

    def url(self) -> str:
        """Where it serves, with its password."""


def start(
    argv: Sequence[str], env: Mapping[str, str], output: IO[bytes] | int, cwd: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start a process that the kernel kills when the thread that called this ends (call it from the main thread).

    It leads a session of its own, so that a terminal's Ctrl-C reaches its starter alone.
    """
    # setpriv rather than preexec_fn: Python code between fork and exec is unsafe where there are threads.
    command = [tool("setpriv"), "--pdeathsig", "KILL", "--", *argv]
    return subprocess.Popen(
        command,
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def tool(name: str) -> str:
    """The path of a command of util-linux. Raises EmbeddedServerError if the machine lacks it."""
    path = shutil.which(name)
    if path is None:
        raise EmbeddedServerError(f"the command {name} is not on this machine; install the package util-linux")
    return path
