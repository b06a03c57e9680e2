"""Servers that live as long as a `with` block and leave nothing behind: for tests and benchmarks."""

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.embedded.errors import EmbeddedServerError
from infra.embedded.ports import free_port
from infra.embedded.postgres import Postgres
from infra.embedded.server import Server, start
from infra.embedded.valkey import Valkey

READY_SECONDS = 60.0
STOP_SECONDS = 20.0
LOOK_EVERY_SECONDS = 0.02
STARTS_MAX = 3


@contextmanager
def ephemeral_postgres(*, durable: bool = False) -> Iterator[str]:
    """The URL of an empty database `gridbay` on a PostgreSQL of its own. Enter it in the main thread.

    durable: its commits reach the disk, as a market's do. Otherwise its role may also create databases and set
    session_replication_role, as tests want to; it never is a superuser.
    """
    with _running("postgres", lambda folder, port: Postgres(folder, port, durable=durable)) as url:
        yield url


@contextmanager
def ephemeral_valkey() -> Iterator[str]:
    """The URL of database 0 of a Valkey of its own, which keeps nothing. Enter it in the main thread."""
    with _running("valkey", lambda folder, port: Valkey(folder, port, durable=False)) as url:
        yield url


@contextmanager
def _running(name: str, make: Callable[[Path, int], Server]) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix=f"gridbay-{name}-") as folder:
        server, process = _start(name, Path(folder), make)
        try:
            yield server.url()
        finally:
            _stop(process, server)


def _start(name: str, folder: Path, make: Callable[[Path, int], Server]) -> tuple[Server, subprocess.Popen[bytes]]:
    """Somebody else may take a free port before the server does: then another one is tried."""
    log = folder / "log"
    for _ in range(STARTS_MAX):
        server = make(folder / name, free_port())
        server.prepare()
        with log.open("wb") as output:
            process = start(server.argv(), server.env(), output)
        if _wait_ready(server, process):
            return server, process
        _stop(process, server)
    end = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
    raise EmbeddedServerError(f"{name} did not start in {STARTS_MAX} tries (status {process.returncode}):\n{end}")


def _wait_ready(server: Server, process: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + READY_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        if server.probe().ask():
            return True
        time.sleep(LOOK_EVERY_SECONDS)
    return False


def _stop(process: subprocess.Popen[bytes], server: Server) -> None:
    if process.poll() is None:
        process.send_signal(server.stop_signal)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_SECONDS)
