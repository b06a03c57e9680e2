"""The supervisor's rules, each on real programs under a real market process."""

import os
import signal
from pathlib import Path

import pytest
from markets import Start, wait_until
from small_tree import SECRET
from users import USERS

pytestmark = pytest.mark.parametrize("user", USERS[:1])


def test_children_start_in_the_order_of_their_needs_and_stop_in_reverse(start: Start, folder: Path) -> None:
    market = start("ordered")
    seen = market.wait_ready()
    assert [(child.name, child.state) for child in seen.children] == [
        ("web", "ready"),
        ("task", "done"),
        ("last", "ready"),
    ]
    notes = folder / "notes"
    wait_until(lambda: "last starts" in notes.read_text(), "the last one runs")
    assert market.send(signal.SIGTERM) == 0
    assert notes.read_text().splitlines() == [
        *("web starts", "web answers", "task starts", "task ends", "last starts", "last ends", "web ends"),
    ]


def test_a_child_that_cannot_start_ends_the_market_with_the_end_of_its_log_and_no_secret(start: Start) -> None:
    market = start("failing")
    assert market.process.wait(30) == 1
    assert market.output.count("broken died after") == 2, "it is tried once more"
    first = market.output.split("broken died after")[1]
    assert "exit code 1" in first
    assert "| line 29" in first
    assert "| line 10\n" not in first, "twenty lines, not all"
    assert "no way in with ***" in first
    assert SECRET not in market.output
    assert "the market stops: broken does not start; its log is" in market.output
    assert market.left_behind() == []


def test_a_child_that_is_not_ready_in_time_ends_the_market(start: Start) -> None:
    market = start("late")
    assert market.process.wait(30) == 1
    assert "silent is not ready after 0.5 s" in market.output
    assert "the market stops: silent does not start" in market.output


def test_a_child_that_keeps_dying_is_given_up(start: Start) -> None:
    market = start("mortal")
    assert market.process.wait(60) == 1
    assert market.output.count("mortal died after") == 6
    assert "the market stops: mortal died 6 times within 60 s" in market.output


def test_a_child_that_does_not_stop_is_killed(start: Start, folder: Path) -> None:
    market = start("stubborn")
    market.wait_ready()
    wait_until(lambda: "deaf" in (folder / "logs" / "stubborn.log").read_text(), "it has stopped listening")
    assert market.send(signal.SIGTERM) == 0
    assert "stubborn did not stop within 0.3 s and is killed" in market.output


def test_a_second_signal_kills_at_once(start: Start, folder: Path) -> None:
    market = start("deaf_for_long")
    market.wait_ready()
    wait_until(lambda: "deaf" in (folder / "logs" / "stubborn.log").read_text(), "it has stopped listening")
    market.remember_tree()
    os.kill(market.process.pid, signal.SIGINT)
    market.wait_for("stopping")
    assert market.send(signal.SIGINT) != 0
    assert market.left_behind() == []
