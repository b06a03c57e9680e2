"""On a terminal: the question before spending, and what Ctrl-C means, with real keys on a real pseudo-terminal."""

import contextlib
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from served_market import Answer, ServedMarket, event
from views import JOB_ID, attempt, ended_job, job, plan

from market.customer_api import LogLine
from market.states import JobState, Reason

SECONDS_MAX = 30


class Typed:
    """`gridbay ARGUMENTS` on a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        self.shown = self.all = ""
        self._fd, theirs = pty.openpty()
        # setsid makes the terminal its own, so that a typed Ctrl-C arrives as a signal.
        command = ["setsid", "--ctty", sys.executable, "-m", "gridbay.cli.main", *arguments]
        self._process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)

    def until(self, words: str) -> None:
        """Read on until these words were shown since the last call."""
        self._read(lambda: words in self.shown)
        assert words in self.shown, f"it ended with: {self.shown!r}"
        self.shown = self.shown.partition(words)[2]

    def type(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    def insist(self, keys: str) -> None:
        """Type it again each second until it has ended: readline may miss a signal in the moment it begins to read."""
        until = time.monotonic() + SECONDS_MAX
        while self._process.poll() is None and time.monotonic() < until:
            self.type(keys)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1)

    def ended(self) -> int:
        """Its exit status; all it still showed is in `shown`."""
        self._read(lambda: False)
        os.close(self._fd)
        return self._process.wait(SECONDS_MAX)

    def _read(self, enough: Callable[[], bool]) -> None:
        until = time.monotonic() + SECONDS_MAX
        while not enough():
            assert time.monotonic() < until, f"waited for too long; shown: {self.shown!r}"
            if select.select([self._fd], [], [], 0.1)[0]:
                try:
                    read = os.read(self._fd, 65536).decode(errors="replace")
                    self.shown, self.all = self.shown + read, self.all + read
                except OSError:
                    # The other end is closed.
                    return


@pytest.fixture
def market_with_a_job(
    logged_in: ServedMarket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ServedMarket]:
    """A job that runs and logs until it is stopped."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TERM", "xterm")
    stopped: list[bool] = []

    def states() -> Iterator[bytes]:
        yield event("job", job(JobState.RUNNING, Reason.RUNNING, attempts=[attempt()]))
        until = time.monotonic() + SECONDS_MAX
        while not stopped and time.monotonic() < until:
            time.sleep(0.02)
        yield event("job", ended_job(143, state=JobState.STOPPED, reason=Reason.STOPPED_BY_USER))

    def stop(_: object) -> Answer:
        stopped.append(True)
        return Answer(job(JobState.STOPPING, Reason.STOPPING_BY_USER))

    def log() -> Iterator[bytes]:
        yield event("log", LogLine(attempt_number=1, offset=0, text="it runs\n\x1b]0;evil title\x07"), "1:8")
        until = time.monotonic() + SECONDS_MAX
        while not stopped and time.monotonic() < until:
            time.sleep(0.02)
        yield event("end", ended_job())

    logged_in.on("POST /v1/jobs/plan", plan())
    logged_in.on("POST /v1/jobs", Answer(job(), 201))
    logged_in.on("POST /v1/jobs/{}/stop", stop)
    logged_in.on("GET /v1/jobs/{}/events", lambda _: Answer(events=states()))
    logged_in.on("GET /v1/jobs/{}/logs", lambda _: Answer(events=log()))
    yield logged_in
    stopped.append(True)


def test_no_means_no(market_with_a_job: ServedMarket) -> None:
    typed = Typed("run", "--no-workdir", "--", "sleep 100")
    typed.until("Run it?")
    typed.type("\n")
    assert typed.ended() == 1
    assert market_with_a_job.asked("POST /v1/jobs") == []


def test_ctrl_c_can_stop_the_job_and_shows_its_end(market_with_a_job: ServedMarket) -> None:
    typed = Typed("run", "--no-workdir", "--", "sleep 100")
    typed.until("Run it?")
    typed.type("y\n")
    typed.until("it runs")
    typed.type("\x03")
    typed.until("[s/d/c]")
    typed.type("s\n")
    assert typed.ended() == 143
    assert "as you asked, exit code 143" in typed.shown
    assert len(market_with_a_job.asked("POST /v1/jobs/{}/stop")) == 1


def test_ctrl_c_can_leave_the_job_alone(market_with_a_job: ServedMarket) -> None:
    typed = Typed("run", "-y", "--no-workdir", "--", "sleep 100")
    typed.until("it runs")
    typed.until("evil title")
    typed.type("\x03")
    typed.until("[s/d/c]")
    typed.type("d\n")
    assert typed.ended() == 0
    assert f"{JOB_ID} runs on" in typed.shown
    assert "\x1b]0;" not in typed.all, "what a node sends does not steer the terminal"
    assert market_with_a_job.asked("POST /v1/jobs/{}/stop") == []


def test_a_second_ctrl_c_ends_it_at_once(market_with_a_job: ServedMarket) -> None:
    typed = Typed("run", "-y", "--no-workdir", "--", "sleep 100")
    typed.until("it runs")
    typed.type("\x03")
    typed.until("[s/d/c]")
    typed.insist("\x03")
    assert typed.ended() == 130
    assert market_with_a_job.asked("POST /v1/jobs/{}/stop") == []
