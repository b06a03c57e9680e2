"""What minder tests share: attempts written and launched, and waiting for what should become true."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from provider_agent.minder import control, layout, orders
from provider_agent.minder.orders import Command, Order, Outcome

SECOND_NS = 1_000_000_000


def wait_until(true: Callable[[], Any], seconds: float = 10.0) -> Any:
    """What it gives once that is true."""
    until = time.monotonic() + seconds
    while not (result := true()):
        assert time.monotonic() < until, f"not within {seconds} s"
        time.sleep(0.005)
    return result


def in_seconds(seconds: float) -> int:
    return layout.boottime_ns() + round(seconds * SECOND_NS)


def processes_like(command_line: str) -> list[int]:
    """The pids of every process on this machine with that command line."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            line = (folder / "cmdline").read_bytes() if folder.name.isdigit() else b""
        except OSError:
            continue
        if line.replace(b"\0", b" ").decode(errors="replace").strip() == command_line:
            found.append(int(folder.name))
    return found


class Attempts:
    """Attempt folders below one folder; each command runs without any sandbox."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.folders: list[Path] = []

    def write(self, *argv: str, seconds: float = 60.0, **fields: Any) -> Path:
        folder = self._root / f"attempt-{len(self.folders)}"
        workdir = folder / "work"
        workdir.mkdir(parents=True)
        environment = {"PATH": "/usr/bin:/bin", **fields.pop("environment", {})}
        memory_watch_bytes = fields.pop("memory_watch_bytes", None)
        command = Command(argv=argv, directory=workdir, environment=environment, memory_watch_bytes=memory_watch_bytes)
        order = Order(attempt_id=folder.name, command=command, workdir=workdir, **fields)
        orders.write_order(folder, order, in_seconds(seconds))
        self.folders.append(folder)
        return folder

    def start(self, script: str, **fields: Any) -> Path:
        folder = self.write("/bin/sh", "-c", script, **fields)
        control.launch(folder)
        return folder

    def run(self, script: str, **fields: Any) -> tuple[Path, Outcome]:
        folder = self.start(script, **fields)
        return folder, ended(folder)


def ended(folder: Path, seconds: float = 20.0) -> Outcome:
    outcome = wait_until(lambda: control.outcome(folder), seconds)
    assert isinstance(outcome, Outcome)
    return outcome


def log_of(folder: Path) -> str:
    path = orders.log_path(folder)
    return path.read_text() if path.exists() else ""
