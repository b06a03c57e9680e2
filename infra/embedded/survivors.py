"""Ends processes that an earlier run left behind in a folder."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from infra.embedded.errors import EmbeddedServerError

ASK_SECONDS = 5.0
KILL_SECONDS = 5.0
LOOK_EVERY_SECONDS = 0.02


def end_processes_in(folder: Path, first: signal.Signals = signal.SIGTERM) -> int:
    """End every process whose working directory is the folder: `first` is sent, and SIGKILL after 5 s.

    Returns how many there were. Raises EmbeddedServerError if one does not end.
    """
    found = processes_in(folder)
    if not found:
        return 0
    for number, seconds in ((first, ASK_SECONDS), (signal.SIGKILL, KILL_SECONDS)):
        for pid in processes_in(folder):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not processes_in(folder):
                return len(found)
            time.sleep(LOOK_EVERY_SECONDS)
    raise EmbeddedServerError(
        f"processes {processes_in(folder)} still run in {folder} and do not end; end them yourself"
    )


def processes_in(folder: Path) -> list[int]:
    """The pids, as seen from here, of our processes whose working directory is the folder."""
    real = str(folder.resolve())
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return sorted(pid for pid in pids if pid != os.getpid() and _working_directory(pid) == real)


def _working_directory(pid: int) -> str | None:
    try:
        return str(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        return None
