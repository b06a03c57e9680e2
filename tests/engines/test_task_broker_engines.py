"""The task broker on every engine: a task outlives its worker, an expired tick does not, and markets are apart."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from awaiting import until
from real_engines import forget_keys, forget_queues, new_prefix
from structlog.contextvars import bound_contextvars

from infra.bus.tasks import PLACE_QUEUE, QUEUES, Broker
from infra.settings import Settings

pytestmark = pytest.mark.filterwarnings(r"ignore:\s*The 'queue' task attribute:DeprecationWarning")


BACKLOG = 200


class History:
    """What happened to a market's tasks: a worker killed while it worked, and another one after it."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.prefixes = (new_prefix(), new_prefix())
        self.broker, self.neighbour = (Broker(_settings(url, prefix)) for prefix in self.prefixes)
        self.status: int | None = None

    def happen(self) -> None:
        self.broker.send("engines.hold")
        with self._worker() as first:
            until(lambda: self.runs("hold") == 1, "the task is under way")
            os.killpg(first.pid, signal.SIGKILL)
        self.broker.task("engines.tick", every=2)(lambda: None)
        options = self._delivery("engines.tick")
        assert options["expires"] == 2
        self.broker.app.send_task("engines.tick", **{**options, "expires": -1})
        for _ in range(BACKLOG):
            self.broker.send("engines.backlog")
        self.broker.task("engines.upkeep", every=2)(lambda: None)
        self.broker.app.send_task("engines.upkeep", **{**self._delivery("engines.upkeep"), "expires": 60})
        self.neighbour.send("engines.note", "neighbour")
        with bound_contextvars(trace="req_after"):
            self.broker.send("engines.note", "after")
        with self._worker() as second:
            done = {"hold": 2, "backlog": BACKLOG, "upkeep": 1, "after": 1}
            until(lambda: all(self.runs(name) >= times for name, times in done.items()), "all were run")
            second.terminate()
            self.status = second.wait(30)

    def _delivery(self, tick: str) -> dict[str, Any]:
        """How beat sends it."""
        return dict(self.broker.app.conf.beat_schedule[tick]["options"])

    def runs(self, name: str) -> int:
        """How often a task has run."""
        return len(self.traces(name))

    def traces(self, name: str) -> list[str]:
        """The request behind each run of a task."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def forget(self) -> None:
        for broker, prefix in zip((self.broker, self.neighbour), self.prefixes, strict=True):
            broker.app.close()
            if self.url.startswith("amqp"):
                forget_queues(self.url, queues=[f"{prefix}.{name}" for name in QUEUES], exchanges=[f"{prefix}.tasks"])
            else:
                forget_keys(self.url, prefix)

    @contextmanager
    def _worker(self) -> Iterator[subprocess.Popen[bytes]]:
        environment = {
            **os.environ,
            "GRIDBAY_BROKER_URL": self.url,
            "GRIDBAY_KEY_PREFIX": self.prefixes[0],
            "GRIDBAY_WORKER_CONCURRENCY": "1",
        }
        command = [sys.executable, str(Path(__file__).with_name("broker_worker.py")), str(self.folder)]
        with subprocess.Popen(command, env=environment, start_new_session=True) as process:
            try:
                yield process
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)


def _settings(url: str, prefix: str) -> Settings:
    return Settings(broker_url=url, key_prefix=prefix)  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=["valkey", "redis", "rabbitmq"])
def history(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    made = History(str(request.getfixturevalue(f"{request.param}_url")), tmp_path_factory.mktemp("tasks"))
    try:
        made.happen()
        yield made
    finally:
        made.forget()


def test_a_task_whose_worker_was_killed_is_run_by_the_next(history: History) -> None:
    assert history.runs("hold") == 2


def test_a_task_knows_the_request_it_is_run_for(history: History) -> None:
    assert history.traces("after") == ["req_after"]
    assert history.traces("hold") == ["None", "None"]


def test_a_tick_that_has_expired_is_not_run(history: History) -> None:
    assert history.runs("tick") == 0


def test_a_tick_is_not_behind_a_backlog(history: History) -> None:
    assert int(history.traces("upkeep")[0]) < BACKLOG // 10


def test_a_neighbours_task_is_not_run(history: History) -> None:
    assert history.runs("neighbour") == 0


def test_a_worker_that_is_told_to_stop_ends_well(history: History) -> None:
    assert history.status == 0


def test_every_key_on_a_shared_server_has_the_prefix(valkey_url: str) -> None:
    url, prefix = valkey_url.rpartition("/")[0] + "/7", new_prefix()
    broker = Broker(_settings(url, prefix))
    broker.send("engines.note", "x")
    broker.send(PLACE_QUEUE)
    with redis.Redis.from_url(url) as client:
        keys = {key.decode() for key in client.scan_iter()}
    assert f"{prefix}:default" in keys
    assert f"{prefix}:{PLACE_QUEUE}" in keys
    assert [key for key in keys if not key.startswith(f"{prefix}:")] == []
    broker.app.close()
    forget_keys(url, prefix)


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_is_away_is_told_at_once(scheme: str) -> None:
    broker = Broker(_settings(f"{scheme}://127.0.0.1:9/", new_prefix()))
    with pytest.raises(Exception, match=r"refused|retry|Retry"):
        broker.send("engines.note", "x")
    broker.app.close()
