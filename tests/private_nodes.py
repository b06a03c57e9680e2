"""Servers that a test may kill: each with a port, a folder and a name of its own, on loopback, gone at the end."""

import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Protocol

import pytest
import redis
from awaiting import until

from infra.embedded.ports import free_port
from infra.embedded.server import start
from infra.embedded.valkey import Valkey

RABBITMQ_SBIN = "lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server"
START_SECONDS = 90.0


class PrivateNode(Protocol):
    """start and kill it as often as wanted: it keeps its data and its URL."""

    url: str

    def start(self) -> None: ...

    def settle(self) -> None:
        """Until it may be killed without forgetting its queues."""

    def kill(self) -> None: ...

    def close(self) -> None: ...


class PrivateValkey:
    def __init__(self, folder: Path) -> None:
        self._server = Valkey(folder / "valkey", free_port())
        self._process: subprocess.Popen[bytes] | None = None
        self._server.prepare()
        self.url = self._server.url()

    def start(self) -> None:
        self._server.prepare()
        self._process = start(self._server.argv(), self._server.env(), subprocess.DEVNULL)
        until(self._loaded, "Valkey answers")

    def settle(self) -> None:
        """A stream is on disk as soon as it is answered for."""

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def close(self) -> None:
        if self._process is not None:
            self.kill()

    def _loaded(self) -> bool:
        try:
            with redis.Redis.from_url(self.url) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


class PrivateRabbitMQ:
    """A node under an Erlang port mapper of its own: it never meets the machine's."""

    def __init__(self, folder: Path) -> None:
        self._program = _rabbitmq_server()
        self._folder = folder
        self._port, self._distribution_port, self._mapper_port = free_port(), free_port(), free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"amqp://guest:guest@127.0.0.1:{self._port}/%2F"
        (folder / "rabbitmq.conf").write_text(f"listeners.tcp.local = 127.0.0.1:{self._port}\n")
        (folder / "plugins").write_text("[].\n")

    def start(self) -> None:
        with (self._folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [self._program], env=self._environment(), stdout=output, stderr=output, start_new_session=True
            )
        until(self._serving, f"RabbitMQ serves (see {self._folder})", START_SECONDS)

    def settle(self, *queues: str) -> None:
        """RabbitMQ 3.10 writes the name of a new quorum queue a second later: killed before, it forgets the queue."""
        names = [name.encode() for name in ("usage.billing", "usage.parked", *queues)]
        until(lambda: all(name in self._known() for name in names), "it knows its queues")

    def _known(self) -> bytes:
        return b"".join(path.read_bytes() for path in self._folder.glob("data/*/quorum/*/names.dets"))

    def kill(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
        until(lambda: not _listens(self._port), "nobody listens any more")

    def close(self) -> None:
        if self._process is not None:
            self.kill()
        # The port mapper is a daemon that outlives every node.
        subprocess.run(["epmd", "-port", str(self._mapper_port), "-kill"], capture_output=True, check=False)

    def _environment(self) -> dict[str, str]:
        folder = str(self._folder)
        return {
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "HOME": folder,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._mapper_port),
            "RABBITMQ_NODENAME": f"gridbay-test-{self._port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1",
        }

    def _serving(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "output").read_text()
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=1) as connection:
                connection.sendall(b"AMQP\0\0\x09\x01")
                return connection.recv(1) == b"\x01"
        except OSError:
            return False


def _rabbitmq_server() -> str:
    found = sorted(str(path) for root in (Path("/usr"), Path("/opt")) for path in root.glob(RABBITMQ_SBIN))
    if not found and os.environ.get("GRIDBAY_REQUIRE_ENGINES"):
        pytest.fail("GRIDBAY_REQUIRE_ENGINES asks for real servers, and RabbitMQ is not installed here")
    if not found:
        pytest.skip("RabbitMQ is not installed here: no node of our own to kill")
    return found[-1]


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
