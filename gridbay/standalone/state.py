"""The state folder of a standalone market: its layout, its lock, and the ports it keeps."""

import fcntl
import json
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

from infra.embedded.ports import free_port, is_free
from infra.embedded.secret_file import ensure_secret, write_private
from market.errors import Conflict, InvalidInput

FORMAT = 1
PORTS = ("postgres", "valkey", "chain", "storage", "api")
# struct flock: type, whence, start, length, pid. Locks of the open file description, not of the process, so that
# the inherited descriptor of PID 1 holds it too, and so that anybody may ask without taking it.
_FLOCK = "@hhqqi4x"


class StateInUse(Conflict):
    """Another market runs on this state folder. pid: of its outer process."""

    code = "state_in_use"

    def __init__(self, root: Path, pid: int) -> None:
        self.pid = pid
        if Path(f"/proc/{pid}").exists():
            remedy = f"stop it with Ctrl-C in its terminal or with: kill {pid}; or give this one its own --state FOLDER"
        else:
            remedy = "it is ending; start again in a moment"
        super().__init__(f"a market already runs on {root} (pid {pid})", remedy=remedy)


@dataclass(frozen=True, slots=True)
class MarketState:
    """A state folder; `open` makes it, everything else assumes that it is there."""

    root: Path

    @classmethod
    def open(cls, root: Path | None = None) -> "MarketState":
        """The folder, made if need be, readable by its owner alone. Raises InvalidInput if it cannot be ours."""
        state = cls.locate(root)
        try:
            state.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            state.root.chmod(0o700)
            state.logs.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise InvalidInput(
                f"the state folder {state.root} cannot be used: {error.strerror}",
                remedy="name a folder of your own with --state FOLDER",
            ) from None
        state._check_format()
        return state

    @classmethod
    def locate(cls, root: Path | None = None) -> "MarketState":
        """The same without making or checking anything; by default the user's data folder."""
        return cls((root or Path(platformdirs.user_data_dir("gridbay")) / "market").absolute())

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    def folder(self, name: str) -> Path:
        """The folder of one part: postgres, valkey, chain, storage or agent."""
        return self.root / name

    def secret_key_file(self) -> Path:
        """The platform's key, made once."""
        path = self.root / "secret.key"
        ensure_secret(path)
        return path

    @contextmanager
    def held(self) -> Iterator[int]:
        """Hold the folder for one market; gives the lock's descriptor, for PID 1 to inherit. Raises StateInUse."""
        descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, fcntl.F_WRLCK, 0, 0, 0, 0))
            except (BlockingIOError, PermissionError):
                raise StateInUse(self.root, self._written_pid()) from None
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield descriptor
        finally:
            os.close(descriptor)

    def holder(self) -> int | None:
        """The pid of the market that runs on this folder, or None."""
        try:
            with self._lock_file.open("rb") as file:
                asked = struct.pack(_FLOCK, fcntl.F_RDLCK, 0, 0, 0, 0)
                answer = struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_OFD_GETLK, asked))
        except FileNotFoundError:
            return None
        return None if answer[0] == fcntl.F_UNLCK else self._written_pid()

    def choose_ports(self) -> dict[str, int]:
        """A port for each server: those of the last run where they are still free. Call it while holding the folder."""
        known = self._read_json("market.json").get("ports", {})
        ports: dict[str, int] = {}
        for name in PORTS:
            port = known.get(name)
            if not isinstance(port, int) or port in ports.values() or not is_free(port):
                port = free_port(taken={*ports.values(), *known.values()})
            ports[name] = port
        if ports != known:
            write_private(self.root / "market.json", json.dumps({"ports": ports}, indent=2) + "\n")
        return ports

    def read_running(self) -> dict[str, Any]:
        """What the running market says of itself; empty if it says nothing yet. Believe it only while it is held."""
        return self._read_json("running.json")

    def write_running(self, value: dict[str, Any]) -> None:
        # Not synced: it is worth nothing after a power cut.
        part = self.root / "running.json.part"
        part.write_text(json.dumps(value))
        part.replace(self.root / "running.json")

    def forget_running(self) -> None:
        with suppress(FileNotFoundError):
            (self.root / "running.json").unlink()

    @property
    def _lock_file(self) -> Path:
        return self.root / "lock"

    def _written_pid(self) -> int:
        text = self._lock_file.read_text().strip()
        return int(text) if text.isdecimal() else 0

    def _read_json(self, name: str) -> dict[str, Any]:
        try:
            value = json.loads((self.root / name).read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}

    def _check_format(self) -> None:
        path = self.root / "version"
        if not path.exists():
            write_private(path, f"{FORMAT}\n")
        found = path.read_text().strip()
        if found != str(FORMAT):
            raise InvalidInput(
                f"the state folder {self.root} has format {found}, this Gridbay reads format {FORMAT}",
                remedy="run the Gridbay that made it, or start afresh with another --state FOLDER",
            )
