"""Markets of a small tree, started as a person would: a process in front, its output, and what it leaves behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from users import as_user

from gridbay.standalone.process_table import Process, descendants, processes
from gridbay.standalone.status import MarketStatus, status

BOUND_SECONDS = 30.0
Start = Callable[..., "RunningUp"]


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, within a bound."""
    deadline = time.monotonic() + BOUND_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"after {BOUND_SECONDS:g} s still not: {what}"
        time.sleep(0.02)


class RunningUp:
    """`up` on a state folder as a child of this process; `close` it whatever happens."""

    def __init__(self, folder: Path, tree: str, user: str, before: tuple[str, ...] = ()) -> None:
        self.folder, self._output = folder, folder.with_name(f"{folder.name}.out")
        argv = [*before, sys.executable, "-P", "-m", "gridbay.standalone", "--state", str(folder)]
        modules = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        environment = {**os.environ, "PYTHONPATH": modules, "HOME": "/nonexistent"}
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                as_user(user, [*argv, "--tree", f"small_tree:{tree}"]),
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._seen: set[tuple[int, str]] = set()

    @property
    def output(self) -> str:
        return self._output.read_text()

    def status(self) -> MarketStatus:
        return status(self.folder)

    def wait_ready(self) -> MarketStatus:
        self.wait_for("ready after")
        return self.status()

    def wait_for(self, text: str) -> None:
        wait_until(lambda: text in self.output or self.process.poll() is not None, f"{text!r} in {self.output}")
        assert text in self.output, self.output

    def wait_for_daemon(self) -> None:
        """Until the daemon that the tree `servers` makes is there."""
        mark = f"daemon of {self.folder}"
        wait_until(lambda: any(mark in _traces(pid) for pid in processes()), "there is a daemon")

    def remember_tree(self) -> list[Process]:
        """Note every process of the tree as it is now."""
        tree = descendants(self.process.pid, processes())
        self._seen |= {(process.pid, _birth(process.pid)) for process in tree}
        return tree

    def send(self, number: signal.Signals) -> int:
        """Send the outer process a signal, wait for its end; its exit status."""
        self.remember_tree()
        # As a terminal's Ctrl-C does it: to everybody in the group.
        os.killpg(self.process.pid, number)
        return self.process.wait(BOUND_SECONDS)

    def left_behind(self) -> list[str]:
        """Processes of the tree, by pid and birth, and any that works in or speaks of the state folder."""
        pids = {pid for pid, birth in self._seen if _birth(pid) == birth}
        pids |= {pid for pid in processes() if pid != os.getpid() and str(self.folder) in _traces(pid)}
        return [f"{pid}: {_traces(pid)}" for pid in pids]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def _birth(pid: int) -> str:
    """Pids are used again; a pid and its time of birth are not. Empty if there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _traces(pid: int) -> str:
    folder = Path(f"/proc/{pid}")
    try:
        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return f"{command} in {(folder / 'cwd').readlink()}"
    except OSError:
        return ""
