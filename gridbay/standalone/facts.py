"""What a person or a program needs to know of a market that runs here; no secret is in it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.embedded.ports import LOOPBACK


@dataclass(frozen=True, slots=True)
class MarketFacts:
    """pid: of the process to signal (SIGTERM stops the market); isolation: "root", "user" or "none", see namespace.py;
    elapsed_seconds: from the start to the last child's readiness."""

    state_dir: Path
    pid: int
    public_url: str
    storage_url: str
    rpc_url: str
    isolation: str
    elapsed_seconds: float

    @property
    def log_dir(self) -> Path:
        return self.state_dir / "logs"

    @property
    def credentials_file(self) -> Path:
        """Written by the migrations at the first start: the local identities' tokens."""
        return self.state_dir / "credentials.json"

    def to_json(self) -> dict[str, Any]:
        return {name: _plain(getattr(self, name)) for name in self.__dataclass_fields__}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "MarketFacts":
        return cls(**{**value, "state_dir": Path(value["state_dir"])})


def url_of(port: int) -> str:
    return f"http://{LOOPBACK}:{port}"


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value
