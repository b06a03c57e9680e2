"""The state folder of an agent: the node's key, credential and identity, its attempts and its spool of readings."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from market.errors import Conflict, InvalidInput, NotFound
from market.signing import NodeKey
from provider_agent.durable import write_atomically

AGENT_VERSION = "0.1.0"
STATE_FILE_MAX_BYTES = 64 * 1024


class Identity(BaseModel):
    """Who this node is on its market, and how its owner offered it.

    cpu_milli, memory_bytes: the owner's limits, None for what the machine has less a reserve; disk_bytes: measured at
    join, since what is free later changes with every job; simulate: the expression of `--simulate`.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    node_id: str
    provider_id: str
    portal_url: str
    name: str
    disk_bytes: int
    cpu_milli: int | None = None
    memory_bytes: int | None = None
    simulate: str | None = None


@dataclass(frozen=True, slots=True)
class StateFolder:
    """Where everything of one node lies.

    The folder itself can be passed through (0711), for attempts run under other users; the files in it cannot be read.
    """

    root: Path

    @property
    def attempts(self) -> Path:
        return self.root / "attempts"

    @property
    def spool(self) -> Path:
        return self.root / "spool"

    @property
    def pool(self) -> Path:
        return self.root / "pool"

    def prepare(self) -> None:
        """Make what is missing, with the right modes."""
        for folder, mode in ((self.root, 0o711), (self.attempts, 0o711), (self.spool, 0o700), (self.pool, 0o711)):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(mode)

    def node_key(self) -> NodeKey:
        """The node's key: the one it has, or a fresh one, kept."""
        path = self.root / "node.key"
        text = _read(path)
        if text is None:
            key = NodeKey.generate()
            write_atomically(path, key.seed.hex().encode())
            return key
        try:
            seed = bytes.fromhex(text.strip())
        except ValueError:
            seed = b""
        if len(seed) != 32:
            raise InvalidInput(
                f"{path} is not a node key (64 hexadecimal digits)",
                remedy=f"restore it from a backup, or remove {path} and join again as a new node",
            )
        return NodeKey(seed)

    def credential(self) -> str:
        text = _read(self.root / "credential")
        if text is None:
            raise self._not_joined()
        return text.strip()

    def identity(self) -> Identity:
        path = self.root / "node.json"
        text = _read(path)
        if text is None:
            raise self._not_joined()
        try:
            return Identity.model_validate_json(text)
        except ValidationError as error:
            raise InvalidInput(
                f"{path} cannot be understood: {error}", remedy="join again: it is written anew"
            ) from None

    def save(self, identity: Identity, credential: str) -> None:
        """The credential first: an identity on disk always has one."""
        before = _read(self.root / "node.json")
        if before is not None and identity.node_id not in before:
            # Another market, or one made anew: nobody there knows the leases of these readings.
            for stream in self.spool.iterdir():
                stream.unlink()
        write_atomically(self.root / "credential", credential.encode())
        write_atomically(self.root / "node.json", identity.model_dump_json(indent=1).encode())

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder for this process: a second agent on the same state would start work twice."""
        descriptor = os.open(self.root / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Conflict(
                    f"another agent already runs on {self.root}", remedy="stop it, or give this one its own --state"
                ) from None
            yield
        finally:
            os.close(descriptor)

    def _not_joined(self) -> NotFound:
        return NotFound(
            f"{self.root} belongs to no market yet",
            remedy="run: gridbay provider join --state FOLDER --portal URL --token gbj_...",
        )


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(STATE_FILE_MAX_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return None
