"""The engines of a market as this machine has them: a real server by its URL, an embedded twin, or missing."""

import importlib.util
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from infra.embedded.errors import EmbeddedServerError
from infra.embedded.wheel import postgres_program, valkey_program
from market.errors import Unavailable

CONNECT_SECONDS = 2.0
EVERYTHING = "pip install 'gridbay[embedded]'"
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
    """REAL: a server named by a URL answers. EMBEDDED: this installation brings its own. OK: the machine has it.

    AWAY: what is named does not answer, and a market on this machine does without it. MISSING: it cannot.
    """

    REAL = "real"
    EMBEDDED = "embedded"
    AWAY = "away"
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
_STORAGE = "GRIDBAY_STORAGE_URL"
_S3_ENDPOINT = "https://s3.amazonaws.com"
_PYTHON_PARTS = (
    ("api", ("fastapi", "gunicorn"), "gridbay[server]"),
    ("tasks", ("celery",), "gridbay[server]"),
    ("execution", ("ray",), "gridbay[agent]"),
)


def engines() -> Iterator[Finding]:
    """Each engine, looked at now; a server that does not answer takes two seconds."""
    yield from _servers()
    # `gridbay up` has a chain of its own, whatever the environment names.
    yield _named_or_twin("GRIDBAY_SOLANA_RPC_URLS", _chain_twin(), otherwise=Level.AWAY)
    for name, packages, extra in _PYTHON_PARTS:
        yield _python_part(name, packages, extra)


def require_engines() -> None:
    """Raise Unavailable if a market on this machine would lack a part: neither named and there, nor installed."""
    parts = [*_servers(), _chain_twin()]
    parts += [_python_part(name, packages, extra) for name, packages, extra in _PYTHON_PARTS]
    missing = [part for part in parts if part.level is Level.MISSING]
    if missing:
        why = "; ".join(dict.fromkeys(part.why for part in missing))
        mends = {part.mend for part in missing}
        # One installation brings every part.
        remedy = "; ".join(sorted(mends)) if not any("pip" in mend for mend in mends) else EVERYTHING
        raise Unavailable(f"a market cannot run here: {why}", remedy=remedy)


def _servers() -> Iterator[Finding]:
    for name, variable, twin in _SERVERS:
        yield _named_or_twin(variable, _server_twin(name, twin))
    yield _storage()


def _named_or_twin(variable: str, twin: Finding, *, otherwise: Level = Level.MISSING) -> Finding:
    """The server that the environment names, if it does; else the twin."""
    url = os.environ.get(variable, "").split(",")[0].strip()
    if not url:
        return Finding(twin.engine, twin.level, f"{twin.why}; {variable} is not set", twin.mend)
    answers, shown = _reachable(url)
    if answers:
        return Finding(twin.engine, Level.REAL, f"{variable}: {shown}")
    return Finding(twin.engine, otherwise, f"{variable}: {shown}", f"start it, or unset {variable}")


def _server_twin(name: str, twin: str) -> Finding:
    try:
        _ = postgres_program("postgres") if twin == "PostgreSQL" else valkey_program()
    except EmbeddedServerError as error:
        return Finding(name, Level.MISSING, str(error).split(";")[0], EVERYTHING)
    return Finding(name, Level.EMBEDDED, f"{twin} from its wheel")


def _chain_twin() -> Finding:
    if importlib.util.find_spec("solders") is None:
        why = "the local chain's runtime (solders) is not installed"
        return Finding("chain", Level.MISSING, why, EVERYTHING)
    return Finding("chain", Level.EMBEDDED, "LiteSVM, the Solana runtime")


def _storage() -> Finding:
    url = os.environ.get(_STORAGE)
    if not url:
        return Finding("storage", Level.EMBEDDED, f"a folder of the state folder; {_STORAGE} is not set")
    parts = urlsplit(url)
    if parts.scheme == "s3":
        answers, shown = _reachable(parse_qs(parts.query).get("endpoint", [_S3_ENDPOINT])[0])
        level, mend = (Level.REAL, "") if answers else (Level.MISSING, f"start it, or unset {_STORAGE}")
        return Finding("storage", level, f"{_STORAGE}: bucket {parts.netloc} at {shown}", mend)
    if parts.scheme != "file":
        mend = "use file:///path or s3://bucket/prefix?endpoint=https://..."
        return Finding("storage", Level.MISSING, f"{_STORAGE}: {parts.scheme}:// is not served", mend)
    folder = Path(unquote(parts.path))
    if folder.is_dir() and os.access(folder, os.W_OK):
        return Finding("storage", Level.REAL, f"{_STORAGE}: {folder} can be written")
    return Finding("storage", Level.MISSING, f"{_STORAGE}: {folder} cannot be written", f"mkdir -p {folder}")


def _python_part(name: str, packages: tuple[str, ...], extra: str) -> Finding:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        return Finding(name, Level.MISSING, f"not installed: {', '.join(missing)}", f"pip install '{extra}'")
    return Finding(name, Level.EMBEDDED, f"{' and '.join(packages)} in this environment")


def _reachable(url: str) -> tuple[bool, str]:
    """Whether it takes a connection, and that in words without the URL's password."""
    parts = urlsplit(url)
    scheme = parts.scheme.split("+")[0]
    host, port = parts.hostname or "", parts.port or DEFAULT_PORTS.get(scheme, 0)
    shown = f"{scheme}://{host}:{port}"
    try:
        with socket.create_connection((host, port), timeout=CONNECT_SECONDS):
            return True, f"{shown} takes connections"
    except OSError as error:
        return False, f"{shown} does not answer ({error.strerror or error})"
