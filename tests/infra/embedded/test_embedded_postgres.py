"""The embedded PostgreSQL: durable, on loopback alone, behind a password, and not put off by what a crash leaves."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from infra.embedded.ephemeral import ephemeral_postgres
from infra.embedded.errors import EmbeddedServerError
from infra.embedded.ports import free_port
from infra.embedded.postgres import Postgres
from infra.embedded.server import start
from infra.embedded.survivors import processes_in


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Postgres:
    return Postgres(tmp_path_factory.mktemp("market") / "postgres", free_port())


@contextmanager
def running(server: Postgres) -> Iterator[subprocess.Popen[bytes]]:
    server.prepare()
    process = start(server.argv(), server.env(), subprocess.DEVNULL)
    try:
        wait_ready(server)
        yield process
    finally:
        process.send_signal(server.stop_signal)
        assert process.wait(20) in (0, -signal.SIGKILL)


def wait_ready(server: Postgres) -> None:
    deadline = time.monotonic() + 30
    while not server.probe().ask():
        assert time.monotonic() < deadline, "the server is not ready within 30 s"


def connect(url: str) -> psycopg.Connection:
    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True)


def test_it_serves_the_market_durably_on_loopback_alone(server: Postgres) -> None:
    with running(server) as process, connect(server.url()) as connection:
        connection.execute("CREATE EXTENSION btree_gist")
        connection.execute(
            "CREATE TABLE leases (gpu int, slice int4multirange, EXCLUDE USING gist (gpu WITH =, slice WITH &&))"
        )
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            assert connection.execute(f"SHOW {name}").fetchone() == ("on",)
        sockets = psutil.Process(process.pid).net_connections("all")
        assert [tuple(socket.laddr) for socket in sockets] == [("127.0.0.1", server.port)]
        rights = connection.execute(
            "SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user"
        ).fetchone()
        assert rights == (False, False)
        connection.execute("DROP TABLE leases; DROP EXTENSION btree_gist")


def test_nobody_gets_in_without_the_password_and_nobody_else_can_read_it(server: Postgres) -> None:
    with running(server), pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(f"postgresql://gridbay:guess@127.0.0.1:{server.port}/gridbay")
    assert server.url() not in repr(server.argv())
    for file in ("password", "superuser.password"):
        assert (server.folder / file).stat().st_mode & 0o777 == 0o600


def test_what_it_acknowledged_survives_kill_9_and_a_pid_file_that_names_somebody_else(server: Postgres) -> None:
    with running(server) as process, connect(server.url()) as connection:
        connection.execute("CREATE TABLE kept (word text)")
        connection.execute("INSERT INTO kept VALUES ('acknowledged')")
        process.kill()
        process.wait(20)
    pid_file = server.data / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    # In a new PID namespace the old pid soon is somebody's.
    with subprocess.Popen(["sleep", "60"]) as somebody:
        pid_file.write_text("\n".join([str(somebody.pid), *lines[1:]]) + "\n")
        with running(server), connect(server.url()) as connection:
            assert connection.execute("SELECT word FROM kept").fetchall() == [("acknowledged",)]
            connection.execute("DROP TABLE kept")
        somebody.kill()


def test_a_server_that_still_runs_on_the_data_is_ended_first(server: Postgres) -> None:
    server.prepare()
    survivor = start(server.argv(), server.env(), subprocess.DEVNULL)
    wait_ready(server)
    with running(server):
        assert survivor.wait(20) == 0
        assert survivor.pid not in processes_in(server.data)


def test_an_initialization_that_was_cut_short_is_made_again(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "postgres", free_port(), durable=False)
    (server.folder / "data.part" / "base").mkdir(parents=True)
    server.prepare()
    assert (server.data / "PG_VERSION").is_file()
    assert not (server.folder / "data.part").exists()


def test_data_of_another_major_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "postgres", free_port())
    server.data.mkdir(parents=True)
    (server.data / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedServerError, match=r"made by PostgreSQL 17, the installed wheel is 18.*pg_dump"):
        server.prepare()


def test_a_folder_it_cannot_write_to_is_told_with_its_last_words(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "postgres", free_port())
    server.folder.mkdir()
    (server.folder / "data.part").write_text("a file where a folder should be")
    with pytest.raises((EmbeddedServerError, NotADirectoryError), match=r"data\.part"):
        server.prepare()


def test_it_dies_with_the_process_that_started_it_and_leaves_nothing_in_shared_memory(tmp_path: Path) -> None:
    program = (
        "from infra.embedded.ephemeral import ephemeral_postgres\n"
        "with ephemeral_postgres() as url:\n    print(url, flush=True)\n    input()"
    )
    command = [sys.executable, "-P", "-c", program]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        url = starter.stdout.readline().strip()
        with connect(url) as connection:
            row = connection.execute("SELECT pg_backend_pid()").fetchone()
            assert row is not None
            shared = shared_memory(row[0])
        starter.kill()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{row[0]}").exists() or listens(url):
        assert time.monotonic() < deadline, "the server outlives its starter"
    assert [path for path in shared if path.exists()] == []


def shared_memory(pid: int) -> set[Path]:
    """What the process has mapped of the machine's shared memory; other servers have some of their own there."""
    mapped = Path(f"/proc/{pid}/maps").read_text().split()
    return {Path(word) for word in mapped if word.startswith("/dev/shm/")}


def listens(url: str) -> bool:
    try:
        connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def test_an_ephemeral_one_leaves_no_file_and_lets_a_test_empty_tables_in_any_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with ephemeral_postgres() as url, connect(url) as connection:
        assert len(list(tmp_path.iterdir())) == 1
        connection.execute("SET session_replication_role = replica")
        connection.execute("CREATE DATABASE another")
    assert list(tmp_path.iterdir()) == []
