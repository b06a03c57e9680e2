"""A market in the background: awaited with progress, looked at from outside, stopped; it ends with who started it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from markets import wait_until
from users import USERS

from gridbay.standalone.background import Progress, RunningMarket, start_in_background
from gridbay.standalone.process_table import descendants, processes
from gridbay.standalone.state import StateInUse
from gridbay.standalone.status import status
from market.errors import Unavailable

pytestmark = pytest.mark.parametrize("user", USERS[:1])


@pytest.fixture(autouse=True)
def small_trees(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    yield


def start(folder: Path, tree: str = "servers") -> RunningMarket:
    return start_in_background(folder, tree=f"small_tree:{tree}")


def test_it_is_awaited_with_progress_and_stopped_cleanly(folder: Path) -> None:
    heard: list[Progress] = []
    with start(folder) as market:
        facts = market.wait_ready(on_progress=heard.append)
        assert facts.pid == market.pid
        assert facts.state_dir == folder
        assert 0 < facts.elapsed_seconds < 30
        assert {progress.total for progress in heard} == {3}
        assert [progress.ready for progress in heard] == sorted(progress.ready for progress in heard)
        assert "postgres" in heard[0].waiting_for
        with pytest.raises(StateInUse, match=f"pid {market.pid}"):
            start(folder)
        assert market.stop() == 0
    assert not status(folder).running


def test_its_memory_is_seen_by_child_and_in_all(folder: Path) -> None:
    with start(folder) as market:
        market.wait_ready()
        seen = status(folder, with_memory=True)
        by_name = {child.name: child.memory_bytes for child in seen.children}
        assert by_name["postgres"] > by_name["valkey"] > 1024 * 1024
        assert seen.memory_bytes > sum(by_name.values()), "the supervisor counts too"


def test_one_that_cannot_start_says_why(folder: Path) -> None:
    with start(folder, "failing") as market, pytest.raises(Unavailable, match="broken does not start") as refused:
        market.wait_ready()
    assert str(folder / "logs") in refused.value.remedy


def test_it_ends_with_the_process_that_started_it(folder: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from gridbay.standalone.background import start_in_background as start\n"
        "market = start(Path(sys.argv[1]), tree='small_tree:servers')\n"
        "market.wait_ready(); print(market.pid, flush=True); input()"
    )
    command = [sys.executable, "-P", "-c", program, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        tree = descendants(pid, processes())
        assert len(tree) >= 10
        os.kill(starter.pid, signal.SIGKILL)
    wait_until(lambda: not {process.pid for process in tree} & set(processes()), "the whole tree is gone")
    assert not status(folder).running
