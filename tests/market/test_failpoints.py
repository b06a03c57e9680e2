"""Failpoints: nothing happens unless armed; a misspelt one is refused; each fires as often as it was told."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from market import failpoints

PASS_THREE = "import sys\nfrom market.failpoints import failpoint\n" + (
    "for number in range(3):\n    failpoint('relay.claimed')\n    print(number, flush=True)\n"
)


def run(armed: str, log: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, failpoints.VARIABLE: armed}
    if log is not None:
        environment[failpoints.LOG_VARIABLE] = str(log)
    command = [sys.executable, "-c", PASS_THREE]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("armed", "printed", "status"),
    [
        ("", 3, 0),
        ("relay.sent=kill", 3, 0),
        ("relay.claimed=kill", 0, -signal.SIGKILL),
        ("relay.claimed=kill@3", 2, -signal.SIGKILL),
        ("relay.claimed=raise@2", 1, 1),
        ("relay.claimed=kill@4", 3, 0),
    ],
)
def test_a_point_fires_at_the_passing_it_was_armed_for(armed: str, printed: int, status: int) -> None:
    done = run(armed)
    assert (len(done.stdout.splitlines()), done.returncode) == (printed, status)


@pytest.mark.parametrize("armed", ["relay.clamed=kill", "relay.claimed=sleep", "relay.claimed", "relay.claimed=kill*3"])
def test_what_nobody_knows_is_refused_at_the_start(armed: str) -> None:
    done = run(armed)
    assert done.returncode != 0 and "GRIDBAY_FAILPOINTS" in done.stderr and done.stdout == ""


def test_firings_are_counted_over_processes(tmp_path: Path) -> None:
    log = tmp_path / "fired"
    statuses = [run("relay.claimed=kill*2", log).returncode for _ in range(3)]
    assert statuses == [-signal.SIGKILL, -signal.SIGKILL, 0]
    assert log.read_text() == "relay.claimed\n" * 2


def test_every_known_point_is_somewhere_in_the_code_and_every_point_there_is_known() -> None:
    root = Path(failpoints.__file__).parents[1]
    packages = ("infra", "scheduler", "billing", "portal_api", "provider_agent", "gridbay")
    texts = [path.read_text() for package in packages for path in (root / package).rglob("*.py")]
    found = [part.split('"')[0] for text in texts for part in text.split('failpoint("')[1:]]
    assert sorted(found) == sorted(failpoints.POINTS)
