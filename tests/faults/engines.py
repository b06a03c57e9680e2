"""The private engines that a control plane of a test stands on: each may be killed."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from plane import READY_SECONDS, STOP_SECONDS, ControlPlane, Killable, until
from sqlalchemy import text

from infra import migrations
from infra.database import Database
from infra.embedded.ports import free_port
from infra.embedded.postgres import Postgres
from infra.embedded.server import Server, start
from infra.embedded.valkey import Valkey


class Engine:
    """A server that a test may kill, on a folder and port that stay the same."""

    def __init__(self, server: Server, log: Path) -> None:
        self._server, self._log = server, log
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it answers."""
        self._server.prepare()
        self.url = self._server.url()
        with self._log.open("ab") as output:
            self._process = start(self._server.argv(), self._server.env(), output)
        until(self._answers, READY_SECONDS, f"a server that answers; see {self._log}")

    def kill(self) -> None:
        """kill -9; the server's children are seen to be gone, too."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(self._server.stop_signal)

    def _answers(self) -> bool:
        assert self._process is not None and self._process.poll() is None, self._log.read_text()[-2000:]
        return self._server.probe().ask()

    def _end(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            self._process.wait(STOP_SECONDS)


@contextmanager
def started(folder: Path, broker: Killable, **settings: str) -> Iterator[ControlPlane]:
    """A control plane on that broker, which is started and ends with it; the rest are engines of its own."""
    with ExitStack() as ends:
        database = Engine(Postgres(folder / "postgres", free_port()), folder / "postgres.log")
        cache = Engine(Valkey(folder / "cache", free_port()), folder / "cache.log")
        for engine, end in ((database, database.stop), (cache, cache.stop), (broker, broker.kill)):
            engine.start()
            ends.callback(end)
        _migrate(database.url)
        plane = ControlPlane(folder, database, broker, cache, **settings)
        ends.callback(plane.close)
        plane.start()
        yield plane


def _migrate(url: str) -> None:
    database = Database(url)
    with database.engine.begin() as connection:
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS btree_gist"))
        migrations.upgrade(connection)
    database.dispose()
