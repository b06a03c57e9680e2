"""The embedded Valkey: behind a password, refuses rather than forgets, and keeps what it was given over a restart."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from infra.embedded.ephemeral import ephemeral_valkey
from infra.embedded.ports import free_port
from infra.embedded.server import start
from infra.embedded.valkey import Valkey


@contextmanager
def running(server: Valkey) -> Iterator[subprocess.Popen[bytes]]:
    server.prepare()
    process = start(server.argv(), server.env(), subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while not server.probe().ask():
            assert time.monotonic() < deadline, "the server is not ready within 20 s"
        yield process
    finally:
        process.send_signal(server.stop_signal)
        process.wait(20)


@pytest.fixture
def server(tmp_path: Path) -> Valkey:
    return Valkey(tmp_path / "with space" / "valkey", free_port())


def test_nobody_gets_in_without_the_password_which_is_in_no_command_line(server: Valkey) -> None:
    with running(server) as process, redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0)) as stranger:
        with pytest.raises(redis.AuthenticationError):
            stranger.ping()
        command = Path(f"/proc/{process.pid}/cmdline").read_text()
        assert (server.folder / "password").read_text().strip() not in command
    assert {path.stat().st_mode & 0o777 for path in server.folder.iterdir() if path.is_file()} == {0o600}


def test_a_full_one_refuses_writes_and_drops_nothing(server: Valkey) -> None:
    with running(server), redis.Redis.from_url(server.url(1)) as client:
        client.config_set("maxmemory", "3mb")
        client.set("kept", 1)
        with pytest.raises(redis.OutOfMemoryError):
            for number in range(100):
                client.set(f"large:{number}", b"x" * 100_000)
        assert client.get("kept") == b"1"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_keeps_its_data_over_a_restart(server: Valkey, number: signal.Signals) -> None:
    with running(server) as process, redis.Redis.from_url(server.url()) as client:
        client.xadd("usage", {"report": "1"})
        # Written at once, on disk within a second: that is the promise.
        assert client.config_get("appendfsync") == {"appendfsync": "everysec"}
        process.send_signal(number)
        process.wait(20)
    with running(server), redis.Redis.from_url(server.url()) as client:
        assert client.xlen("usage") == 1


def test_an_ephemeral_one_keeps_nothing_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with ephemeral_valkey() as url, redis.Redis.from_url(url) as client:
        assert client.config_get("appendonly") == {"appendonly": "no"}
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []
