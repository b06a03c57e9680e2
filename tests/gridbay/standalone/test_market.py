"""A market in front of a person: starts, is alone on its state, tells deaths, ends whole, goes on from its state."""

import os
import signal
import socket
from pathlib import Path

import psycopg
import pytest
import redis
from markets import RunningUp, Start, wait_until
from users import USERS

from gridbay.standalone.status import MarketStatus
from infra.embedded.postgres import Postgres
from infra.embedded.valkey import Valkey


def connect(market: RunningUp) -> psycopg.Connection:
    url = Postgres(market.folder / "postgres", market.status().ports["postgres"]).url()
    return psycopg.connect(url.replace("+psycopg", ""), autocommit=True)


def pid_of(name: str, seen: MarketStatus) -> int:
    return next(child.pid for child in seen.children if child.name == name and child.pid is not None)


def test_a_market_starts_whole_alone_on_its_state_and_says_where_it_is(start: Start, folder: Path, user: str) -> None:
    market = start()
    seen = market.wait_ready()
    assert seen.running
    assert seen.isolation == ("root" if user == "root" else "user")
    assert seen.facts is not None
    assert seen.facts.pid == seen.pid == market.process.pid
    # The pids are those that we see, not those inside the namespace.
    assert b"valkey-server" in Path(f"/proc/{pid_of('valkey', seen)}/cmdline").read_bytes()
    assert folder.stat().st_mode & 0o777 == 0o700
    url = Valkey(folder / "valkey", seen.ports["valkey"]).url(2)
    with redis.Redis.from_url(url) as cache:
        assert cache.ping()

    second = start()
    assert second.process.wait(30) == 2
    assert f"already runs on {folder} (pid {market.process.pid})" in second.output
    assert market.status().ready


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_however_it_ends_no_process_is_left(start: Start, number: signal.Signals) -> None:
    market = start()
    market.wait_ready()
    market.wait_for_daemon()
    status = market.send(number)
    assert status == (-number if number == signal.SIGKILL else 0), market.output
    wait_until(lambda: market.left_behind() == [], f"the tree is gone, not {market.left_behind()}")
    assert not market.status().running


def test_a_supervisor_that_hangs_cannot_keep_its_tree_alive(start: Start) -> None:
    market = start()
    market.wait_ready()
    market.wait_for_daemon()
    first = next(process for process in market.remember_tree() if process.namespace_pids[-1] == 1)
    os.kill(first.pid, signal.SIGSTOP)
    market.send(signal.SIGKILL)
    wait_until(lambda: market.left_behind() == [], f"the tree is gone, not {market.left_behind()}")


def test_it_goes_on_from_its_state_after_kill_9_and_finds_other_ports_if_its_own_are_taken(start: Start) -> None:
    first = start()
    before = first.wait_ready()
    with connect(first) as connection:
        connection.execute("CREATE TABLE kept (word text)")
        connection.execute("INSERT INTO kept VALUES ('acknowledged')")
        first.send(signal.SIGKILL)
    wait_until(lambda: first.left_behind() == [], "the first market is gone")

    with socket.create_server(("127.0.0.1", before.ports["valkey"])):
        second = start()
        after = second.wait_ready()
        changed = {name for name in before.ports if before.ports[name] != after.ports[name]}
        assert changed == {"valkey"}
        with connect(second) as connection:
            assert connection.execute("SELECT word FROM kept").fetchall() == [("acknowledged",)]
        assert second.send(signal.SIGTERM) == 0


def test_the_death_of_a_child_is_told_and_mended(start: Start) -> None:
    market = start()
    seen = market.wait_ready()
    os.kill(pid_of("postgres", seen), signal.SIGKILL)
    market.wait_for("postgres is back")
    assert "postgres died after" in market.output
    assert "killed by SIGKILL. The end of its log" in market.output
    assert "| " in market.output.split("killed by SIGKILL")[1], "the log's end is shown"
    with connect(market) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    child = next(child for child in market.status().children if child.name == "postgres")
    assert child.restarts == 1
    assert market.send(signal.SIGTERM) == 0


@pytest.mark.parametrize("user", ["unnamed"])
def test_a_user_that_has_no_name_here_can_run_it_too(start: Start) -> None:
    market = start()
    assert market.wait_ready().isolation == "user"
    assert market.send(signal.SIGTERM) == 0


@pytest.mark.parametrize("user", USERS[:1])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_without_a_pid_namespace_it_says_so_and_still_leaves_nothing(start: Start, number: signal.Signals) -> None:
    none_left = 'echo 0 > /proc/sys/user/max_pid_namespaces; exec "$@"'
    market = start(before=("unshare", "--map-root-user", "--", "sh", "-c", none_left, "sh"))
    assert market.wait_ready().isolation == "none"
    assert "no PID namespace here (unshare: " in market.output
    market.wait_for_daemon()
    market.send(number)
    wait_until(lambda: market.left_behind() == [], f"the tree is gone, not {market.left_behind()}")
