"""A control plane of real processes on private engines, to be killed: whatever dies is started again at once."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol, TypeVar

import httpx
from forks import Fork, Nursery
from soak_size import SOAK

from infra.embedded.ports import free_port
from infra.embedded.server import start
from infra.secrets import SecretBox
from market.failpoints import LOG_VARIABLE, VARIABLE

Found = TypeVar("Found")
PARTS = ("api", "relay", "consumer", "beat", "worker")
LOOK_SECONDS, PATIENCE = (0.1, 10) if SOAK else (0.02, 1)
"""A soak runs beside other work: what has no promised time may take its time there."""
READY_SECONDS, STOP_SECONDS = 60.0, 30.0


class Killable(Protocol):
    """A server that a test may kill, on a place that stays the same."""

    url: str

    def start(self) -> None:
        """Returns once it answers."""

    def kill(self) -> None: ...


class Part:
    """One process of the control plane, and what it is armed with. fresh: a program of its own, not a fork."""

    def __init__(self, name: str, environment: Mapping[str, str], log: Path, nursery: Nursery) -> None:
        self.name, self._environment, self.log, self._nursery = name, environment, log, nursery
        self.failpoints = ""
        self.fresh = False
        self.wanted = False
        self.deaths = 0
        self.process: subprocess.Popen[bytes] | Fork | None = None

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        self.wanted = True
        if self.alive:
            return
        # What is left of a killed one's process group must not serve on.
        self._end_group()
        module = f"gridbay.processes.{self.name}"
        if not self.fresh:
            self.process = self._nursery.fork(module, {VARIABLE: self.failpoints}, self.log)
            return
        command = [sys.executable, "-P", "-c", f"from {module} import main; main()"]
        with self.log.open("ab") as output:
            self.process = start(command, {**self._environment, VARIABLE: self.failpoints}, output)

    def kill(self) -> None:
        """kill -9 of all of it; it stays down until it is started again."""
        self.wanted = False
        self._end_group()

    def resume(self) -> None:
        """Go on after a pause."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGCONT)

    def terminate(self) -> int:
        """Ask it to end; returns its exit status."""
        self.wanted = False
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(STOP_SECONDS)

    def tend(self) -> None:
        if self.wanted and not self.alive:
            self.deaths += 1
            self.start()

    def _end_group(self) -> None:
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(STOP_SECONDS)


class ControlPlane:
    """The five processes of a market. database, broker and cache are servers of its own."""

    def __init__(self, folder: Path, database: Killable, broker: Killable, cache: Killable, **settings: str) -> None:
        self.database, self.broker, self.cache = database, broker, cache
        self.folder = folder
        self.bind = f"127.0.0.1:{free_port()}"
        self.url = f"http://{self.bind}"
        self._fired = folder / "fired"
        key = folder / "secret.key"
        key.write_text(SecretBox.generate_key())
        key.chmod(0o600)
        values = {
            "DATABASE_URL": database.url,
            "BROKER_URL": broker.url,
            "USAGE_BUS_URL": cache.url,
            "CACHE_URL": cache.url,
            "STORAGE_URL": f"file://{folder / 'storage'}",
            "STORAGE_PUBLIC_URL": "http://127.0.0.1:9",
            "SECRET_KEY_FILE": str(key),
            "BIND": self.bind,
            "LONG_POLL_SECONDS": "20",
            "WORKER_POOL": "threads",
            "WORKER_CONCURRENCY": "4",
            "LOG_LEVEL": "WARNING",
            **settings,
        }
        self.environment = {f"GRIDBAY_{name}": value for name, value in values.items()}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("GRIDBAY_")}
        environment = {**inherited, **self.environment, LOG_VARIABLE: str(self._fired), "PYTHONUNBUFFERED": "1"}
        self._environment = environment
        self._nursery = Nursery(environment, folder / "nursery.log")
        self.parts = {name: self._part(name, name) for name in PARTS}

    def start(self) -> None:
        """All parts; returns once the portal answers."""
        for part in self.parts.values():
            part.start()
        self.wait_ready()

    def wait_ready(self) -> None:
        self.until(self._answers, READY_SECONDS, "a portal that answers")

    def arm(self, **armed: str) -> None:
        """Start these parts anew, with failpoints (a name=action list of market/failpoints.py) or without ("")."""
        for name, failpoints in armed.items():
            part = self.parts[name]
            part.kill()
            part.failpoints = failpoints
            part.start()
        self.wait_ready()

    def calm(self) -> None:
        """Everything unarmed and up again."""
        self._fired.unlink(missing_ok=True)
        for name, part in self.parts.items():
            if part.failpoints or not part.alive:
                self.arm(**{name: ""})
            part.deaths = 0

    def add(self, name: str, alias: str) -> Part:
        """A further process of that kind, not started yet."""
        self.parts[alias] = self._part(name, alias)
        return self.parts[alias]

    def drop(self, alias: str) -> None:
        self.parts.pop(alias).kill()

    def fired(self) -> Counter[str]:
        """How often each failpoint fired since the last calm."""
        return Counter(self._fired.read_text().split()) if self._fired.exists() else Counter()

    def tend(self) -> None:
        for part in self.parts.values():
            part.tend()

    def until(self, look: Callable[[], Found], seconds: float, what: str) -> Found:
        """What the look finds once it is true; meanwhile whatever dies is started again."""

        def tended() -> Found:
            self.tend()
            return look()

        return until(tended, seconds, what)

    def close(self) -> None:
        for part in self.parts.values():
            part.kill()
        self._nursery.close()

    def _part(self, name: str, alias: str) -> Part:
        return Part(name, self._environment, self.folder / f"{alias}.log", self._nursery)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=5).is_success
        except httpx.TransportError:
            return False


def until(look: Callable[[], Found], seconds: float, what: str) -> Found:
    """What the look finds once it is true. Fails when that takes longer, in a soak much longer."""
    seconds *= PATIENCE
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what}: did not come within {seconds:g} s"
        time.sleep(LOOK_SECONDS)
    return found


def comma(points: Iterable[str], action: str) -> str:
    """The same action for each of these failpoints."""
    return ",".join(f"{point}={action}" for point in points)
