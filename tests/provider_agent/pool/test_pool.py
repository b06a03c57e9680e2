"""One real Ray pool: it books, launches and releases, and whatever of it dies, jobs run on and are found again."""

import asyncio
import os
import signal
import stat
import time
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from awaiting import until

from provider_agent.minder import control, launcher, layout, orders
from provider_agent.minder.orders import Cause, Command, Order
from provider_agent.pool import cluster, processes
from provider_agent.pool.asking import LaunchRefused, NoCapacity
from provider_agent.pool.cluster import Mended, Pool
from provider_agent.pool.head import PoolConfig, PoolUnavailable
from provider_agent.pool.spares import Spares

pytestmark = [pytest.mark.ray, pytest.mark.timeout(180)]
GIBIBYTE = 1 << 30
NURSERY = str(launcher.NURSERY)


class Node:
    """A pool on one event loop, and attempts launched through it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.loop = asyncio.Runner()
        self.pool = self.new_pool()
        self.attempts: list[Path] = []

    def new_pool(self) -> Pool:
        """One that keeps no spare, so that its books are those of the attempts."""
        return Pool(PoolConfig(self.folder / "pool", 4, 8 * GIBIBYTE, ("GPU-a", "GPU-b")), kept_seconds=0)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run(work)

    def order(self, script: str) -> Path:
        folder = self.folder / f"attempt-{len(self.attempts)}"
        workdir = folder / "work"
        workdir.mkdir(parents=True)
        command = Command(argv=("/bin/sh", "-c", script), directory=workdir, environment={"PATH": "/usr/bin:/bin"})
        order = Order(attempt_id=folder.name, command=command, workdir=workdir)
        orders.write_order(folder, order, layout.boottime_ns() + 120 * 10**9)
        self.attempts.append(folder)
        return folder

    def launch(self, folder: Path, *gpus: str, cpus: float = 0.5) -> bool:
        asked = self.pool.reserve_and_launch(folder.name, folder, cpus=cpus, memory_bytes=GIBIBYTE, gpu_uuids=gpus)
        return bool(self.run(asked))

    def reserved(self) -> dict[str, dict[str, float]]:
        books = self.run(self.pool.books())
        return dict(books.reserved)

    def mend(self, what: Mended) -> None:
        """Look until the pool says that this was mended and it serves again."""
        until = time.monotonic() + 90
        interrupted = False
        while True:
            assert time.monotonic() < until
            try:
                care = self.run(self.pool.ensure_alive())
            except PoolUnavailable:
                interrupted = True
                continue
            # A child that was slow to answer is there at the next look, with nothing left to mend.
            slow_child = interrupted and what is Mended.CHILD and care.mended is Mended.NOTHING
            if care.mended is what or slow_child:
                assert care.lost == {}
                return

    def mend_once(self, what: Mended) -> None:
        """Look until something was mended; a death takes a moment to be seen. Raises PoolUnavailable."""
        until = time.monotonic() + 30
        while (care := self.run(self.pool.ensure_alive())).mended is Mended.NOTHING:
            assert time.monotonic() < until
        assert care.mended is what

    def processes(self) -> list[processes.PoolProcess]:
        head = self.pool.head
        assert head is not None
        return processes.find_marked(head.mark)

    def tree(self) -> list[psutil.Process]:
        """The raylet and all below it, found without the mark that stopping goes by."""
        (raylet,) = (process.pid for process in self.processes() if process.name == "raylet")
        return [psutil.Process(raylet), *psutil.Process(raylet).children(recursive=True)]

    def nurseries(self) -> list[psutil.Process]:
        """They carry no mark and are not below the raylet, for minders must not: they end when their runner does.

        Known by the pool's network, which their minders have too.
        """
        network = _network(self.tree()[0])
        return [one for one in psutil.process_iter() if _is_nursery(one) and _network(one) == network]

    def unmarked(self) -> set[int]:
        """What stopping would not find, though it is there."""
        return {process.pid for process in self.tree()} - {process.pid for process in self.processes()}

    def kill(self, name: str) -> int:
        """kill -9 of the pool's processes whose name or command line has that."""
        chosen = [p.pid for p in self.processes() if name in p.name or name in p.command]
        for pid in chosen:
            os.kill(pid, signal.SIGKILL)
        return len(chosen)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    made = Node(tmp_path_factory.mktemp("node"))
    made.run(made.pool.start())
    yield made
    for attempt in made.attempts:
        control.kill(attempt)
    head = made.pool.head
    assert head is not None
    whole, nurseries = made.tree(), made.nurseries()
    made.run(made.pool.stop())
    made.loop.close()
    assert len(whole) >= 3
    assert psutil.wait_procs(nurseries, timeout=10)[1] == []
    assert [process for process in whole if process.is_running() and process.status() != psutil.STATUS_ZOMBIE] == []
    assert processes.find_marked(head.mark) == []
    assert not head.scratch.exists()


def _network(process: psutil.Process) -> Path | None:
    with suppress(OSError):
        return Path(f"/proc/{process.pid}/ns/net").readlink()
    return None


def _is_nursery(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return NURSERY in process.cmdline()
    return False


@pytest.fixture
def running(node: Node) -> Iterator[Path]:
    """A job that runs on a GPU of the pool until it is stopped."""
    folder = node.order("trap 'exit 6' TERM; echo up; while :; do sleep 0.05; done")
    assert node.launch(folder, "GPU-b")
    while not ((log := orders.log_path(folder)).exists() and log.read_bytes()):
        assert control.outcome(folder) is None
    yield folder
    # A process that is just being started is none of them yet.
    until(lambda: not node.unmarked(), "whatever is below the raylet has its mark", 10)
    control.kill(folder)
    node.run(node.pool.release(folder.name))


def ended(folder: Path) -> orders.Outcome:
    until = time.monotonic() + 20
    while (outcome := control.outcome(folder)) is None:
        assert time.monotonic() < until
        time.sleep(0.005)
    return outcome


def stopped_politely(folder: Path) -> bool:
    """Whoever has the folder can stop the job, and it ends as it wants to: it was never interrupted."""
    control.request_stop(folder, grace_seconds=10)
    outcome = ended(folder)
    return (outcome.cause, outcome.exit_code) == (Cause.STOPPED, 6)


def test_a_job_goes_through_ray_to_its_return_code_and_gives_its_gpu_back(node: Node) -> None:
    folder = node.order("echo done; exit 3")
    assert node.launch(folder, "GPU-a", cpus=1.5)
    assert ended(folder).exit_code == 3
    held = node.reserved()[folder.name]
    assert held == {"CPU": 1.5, "GPU": 1.0, "gpu-GPU-a": 1.0, "memory": float(GIBIBYTE)}
    assert node.run(node.pool.release(folder.name))
    assert folder.name not in node.reserved()
    assert node.run(node.pool.release(folder.name)), "a second release finds nothing and is no error"


def test_a_repeated_launch_starts_nothing_twice(node: Node, running: Path) -> None:
    assert not node.launch(running, "GPU-b")
    assert list(node.reserved()) == [running.name]


def test_a_gpu_is_booked_by_its_uuid_and_only_once(node: Node, running: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second = node.order("true")
    with monkeypatch.context() as patch, pytest.raises(NoCapacity, match="gpu-GPU-b"):
        patch.setattr("provider_agent.pool.cluster.RESERVE_SECONDS_MAX", 0.5)
        node.launch(second, "GPU-b")
    assert list(node.reserved()) == [running.name]
    assert not orders.was_started(second)
    assert node.launch(second, "GPU-a")
    node.run(node.pool.release(second.name))


def test_a_minder_that_will_not_start_leaves_nothing_reserved(node: Node) -> None:
    with pytest.raises(LaunchRefused, match="No such file"):
        node.launch(node.folder / "no-such-attempt")
    assert node.reserved() == {}


def test_nothing_of_the_pool_reaches_the_job(node: Node, running: Path) -> None:
    minder = control.find(running)
    assert minder is not None
    environment = Path(f"/proc/{minder.pid}/environ").read_bytes()
    assert b"RAY" not in environment
    assert b"GRIDBAY" not in environment
    assert minder.pid not in {process.pid for process in node.processes()}


def test_its_token_is_its_own_and_its_ports_are_nobodys(node: Node) -> None:
    token = node.folder / "pool" / "ray.token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    gcs = next(process for process in node.processes() if process.name == "gcs_server")
    assert 6379 in _listening_in_namespace_of(gcs.pid)
    namespaces = {Path(f"/proc/{process.pid}/ns/net").readlink() for process in node.processes()}
    assert len(namespaces) == 1
    assert namespaces.isdisjoint({Path("/proc/self/ns/net").readlink()})


def test_it_is_small(node: Node, running: Path) -> None:
    """Its child, its runner and all of Ray: at most 400 MB of memory that is not shared with others."""
    pss = sum(psutil.Process(process.pid).memory_full_info().pss for process in node.processes())
    assert pss <= 400e6, f"{pss / 1e6:.0f} MB"


def test_a_killed_child_is_replaced_and_finds_the_books(node: Node, running: Path) -> None:
    assert node.kill("provider_agent.pool.child") == 1
    node.mend(Mended.CHILD)
    assert list(node.reserved()) == [running.name]
    assert stopped_politely(running)


def test_a_killed_runner_comes_back_by_itself(node: Node, running: Path) -> None:
    assert node.kill("ray::Runner") == 1
    folder = node.order("exit 2")
    assert node.launch(folder, "GPU-a")
    assert ended(folder).exit_code == 2
    node.run(node.pool.release(folder.name))
    assert stopped_politely(running)


@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_a_killed_head_is_started_anew_with_the_running_jobs_in_its_books(node: Node, running: Path, name: str) -> None:
    left = node.processes()
    assert node.kill(name) >= 1
    node.mend(Mended.POOL)
    assert not {process.pid for process in left} & {process.pid for process in node.processes()}
    assert list(node.reserved()) == [running.name]
    folder = node.order("exit 2")
    assert node.launch(folder, "GPU-a")
    node.run(node.pool.release(folder.name))
    assert stopped_politely(running)


def test_a_child_that_does_not_start_under_a_new_head_leaves_no_book_empty(
    node: Node, running: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert node.kill("raylet") >= 1
    with monkeypatch.context() as patch:
        patch.setattr(cluster, "CHILD_START_SECONDS_MAX", 0.001)
        with pytest.raises(PoolUnavailable, match="did not answer"):
            node.mend_once(Mended.POOL)
    node.mend(Mended.POOL)
    assert list(node.reserved()) == [running.name]
    assert stopped_politely(running)


def test_a_new_agent_ends_the_old_pool_and_adopts_what_runs(node: Node, running: Path) -> None:
    """As after kill -9 of an agent: all the new one has is the folders."""
    left = {process.pid for process in node.processes()}
    node.pool = node.new_pool()
    node.run(node.pool.start())
    assert not left & {process.pid for process in node.processes()}
    assert node.reserved() == {}
    node.run(node.pool.reserve(running.name, cpus=0.5, memory_bytes=GIBIBYTE, gpu_uuids=("GPU-b",)))
    assert list(node.reserved()) == [running.name]
    assert stopped_politely(running)


def test_what_is_reserved_ahead_is_what_the_launch_uses(node: Node) -> None:
    folder = node.order("exit 2")
    node.run(node.pool.reserve(folder.name, cpus=0.5, memory_bytes=GIBIBYTE, gpu_uuids=("GPU-a",)))
    assert list(node.reserved()) == [folder.name]
    assert node.launch(folder, "GPU-a")
    assert list(node.reserved()) == [folder.name]
    assert ended(folder).exit_code == 2
    node.run(node.pool.release(folder.name))
    assert node.reserved() == {}


def test_a_runner_that_died_is_started_again_by_the_launch_that_misses_it(node: Node, running: Path) -> None:
    folder = node.order("exit 2")
    node.run(node.pool.reserve(folder.name, cpus=0.5, memory_bytes=GIBIBYTE, gpu_uuids=("GPU-a",)))
    assert node.kill("ray::Runner") == 1
    assert node.launch(folder, "GPU-a")
    assert ended(folder).exit_code == 2
    node.run(node.pool.release(folder.name))


def test_equal_needs_take_over_a_reservation_and_others_have_its_room(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PoolConfig(node.folder / "pool", 4, 8 * GIBIBYTE, ("GPU-a", "GPU-b"))
    monkeypatch.setattr(node.pool, "_spares", Spares(config.resources, kept_seconds=60))
    first, second, third = (node.order("exit 2") for _ in range(3))
    assert node.launch(first, "GPU-a")
    node.run(node.pool.release(first.name))
    assert node.launch(second, "GPU-a")
    assert ended(second).exit_code == 2
    assert list(node.reserved()) == [first.name], "Ray's books hold what runs, once"
    node.run(node.pool.release(second.name))
    assert node.launch(third, "GPU-a", cpus=1.0)
    assert list(node.reserved()) == [third.name]
    monkeypatch.undo()
    node.run(node.pool.release(third.name))


def _listening_in_namespace_of(pid: int) -> set[int]:
    """/proc/PID/net shows the sockets of that process's network namespace; 0A is LISTEN."""
    tables = [Path(f"/proc/{pid}/net/{kind}").read_text() for kind in ("tcp", "tcp6")]
    rows = [row for table in tables for row in table.splitlines()[1:]]
    return {int(row.split()[1].rpartition(":")[2], 16) for row in rows if row.split()[3] == "0A"}
