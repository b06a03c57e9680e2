"""An agent in a process of its own, to be killed and started again, and archives to give it."""

import io
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

from provider_agent.minder import control

HERE = Path(__file__).parent


def is_running(pid: int) -> bool:
    """Whether it lives; a dead process that nobody has collected yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def archive(**files: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


class AgentProcess:
    """One state folder, joined to the far side, and the agent that runs on it at the moment."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.journal = state.parent / f"{state.name}.journal"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str, **environment: str) -> "AgentProcess":
        with self.journal.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, HERE / "direct_agent.py", self.state, *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **environment},
            )
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """kill -9: nothing of it gets a last word."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def terminate(self) -> int:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(20)

    def exit_status(self, seconds: float = 20) -> int:
        """Of an agent that ends by itself."""
        assert self._process is not None
        return self._process.wait(seconds)

    def attempt_dir(self, attempt_id: str) -> Path:
        return self.state / "attempts" / attempt_id

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
        for folder in (self.state / "attempts").glob("*"):
            control.kill(folder)
