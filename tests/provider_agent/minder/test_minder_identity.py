"""Who owns an attempt: one minder, found by anyone from the folder alone, started by whoever and never twice."""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest
from running import Attempts, ended, in_seconds, log_of, processes_like, wait_until

from provider_agent.minder import control, launcher, layout, orders
from provider_agent.minder.orders import Cause

LAUNCH = "import sys, time; from pathlib import Path; from provider_agent.minder import control; "


def test_a_second_start_is_refused_while_it_runs_after_it_ended_and_after_it_was_lost(attempts: Attempts) -> None:
    running = attempts.start("sleep 100")
    finished, _ = attempts.run("true")
    lost = attempts.start("sleep 100")
    assert control.kill(lost)
    for folder in (running, finished, lost):
        with pytest.raises(control.AlreadyStarted):
            control.launch(folder)


def test_of_many_starts_at_once_one_wins(attempts: Attempts, marked: str) -> None:
    folder = attempts.write("/bin/sh", "-c", f"echo ran; exec {marked}")

    def start(_: int) -> bool:
        try:
            control.launch(folder)
        except control.AlreadyStarted:
            return False
        return True

    with ThreadPoolExecutor(6) as threads:
        assert sum(threads.map(start, range(6))) == 1
    wait_until(lambda: len(processes_like(marked)) == 1)
    assert wait_until(lambda: log_of(folder)) == "ran\n"


def test_lost_means_started_without_outcome_and_without_minder(attempts: Attempts) -> None:
    never = attempts.write("/bin/true")
    running = attempts.start("sleep 100")
    finished, _ = attempts.run("exit 3")
    lost = attempts.start("sleep 100")
    control.kill(lost)
    assert [control.was_lost(folder) for folder in (never, running, finished, lost)] == [False, False, False, True]
    wait_until(lambda: control.find(finished) is None)  # its outcome is its last word but one
    assert not control.kill(finished)


def test_an_attempt_runs_though_who_asked_for_it_is_gone_when_its_minder_lives(attempts: Attempts) -> None:
    folder = attempts.write("/bin/sh", "-c", "echo ran")
    heard, tell = os.pipe2(os.O_CLOEXEC)
    errors = os.open(folder / layout.LOCK, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.close(heard)
    launcher._nursery.ask(os.fsencode(folder.resolve()), [tell, errors])
    os.close(tell)
    os.close(errors)
    assert ended(folder).cause is Cause.EXITED
    assert log_of(folder) == "ran\n"


@pytest.mark.parametrize("killed", ["nursery", "the minder that waits there"])
def test_a_nursery_that_died_is_replaced_and_its_minders_live_on(
    attempts: Attempts, own_nursery: Callable[[], list[int]], marked: str, killed: str
) -> None:
    folder = attempts.start(marked)
    wait_until(lambda: processes_like(marked))
    for _ in range(5):
        nursery, waiting = wait_until(own_nursery)
        os.kill(nursery if killed == "nursery" else waiting, signal.SIGKILL)
        for _ in range(2):  # it may be dying still; what waits there without it takes one more message
            assert attempts.run("exit 5")[1].exit_code == 5
        wait_until(partial(_is_gone, nursery))
    assert control.find(folder) is not None
    assert control.kill(folder)


def test_a_nursery_ends_with_the_last_who_could_ask_and_its_minders_live_on(
    attempts: Attempts, own_nursery: Callable[[], list[int]]
) -> None:
    folder = attempts.start("sleep 100")
    pids = wait_until(own_nursery)
    launcher._nursery.close()
    for pid in pids:
        wait_until(partial(_is_gone, pid))
    assert control.kill(folder)


@pytest.fixture
def own_nursery(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[int]]]:
    """Of a nursery of this test's own, the pids of itself and of what waits there for an order; none until it does."""
    nursery = launcher.Nursery()
    monkeypatch.setattr(launcher, "_nursery", nursery)
    # Others of this machine begin and end meanwhile.
    mark = secrets.token_hex(8)
    monkeypatch.setitem(launcher.CLEAN_ENVIRONMENT, "GRIDBAY_TEST_MARK", mark)

    def pids() -> list[int]:
        found = _nurseries()
        own = sorted((waits, pid) for pid, waits in found.items() if _is_marked(pid, mark))
        return [pid for _, pid in own] if [waits for waits, _ in own] == [False, True] else []

    yield pids
    nursery.close()


def _is_marked(pid: int, mark: str) -> bool:
    try:
        return mark.encode() in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def _is_gone(pid: int) -> bool:
    return pid not in _nurseries()


def _nurseries() -> dict[int, bool]:
    """All of this machine and what waits there, by pid, and whether it is that; minders let go of the socket."""
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        with suppress(OSError, psutil.Error):
            asked = str(launcher.NURSERY) in (process.info["cmdline"] or ())
            if asked and str(Path(f"/proc/{process.pid}/fd/0").readlink()).startswith("socket:"):
                namespaced = Path(f"/proc/{process.pid}/status").read_text().partition("NSpid:")[2].split("\n")[0]
                found[process.pid] = namespaced.split()[-1] == "1"
    return found


def test_the_minder_is_the_child_of_nobody_here(attempts: Attempts) -> None:
    folder = attempts.start("sleep 100")
    minder = control.find(folder)
    assert minder is not None
    status = Path(f"/proc/{minder.pid}/status").read_text()
    parent = int(status.partition("PPid:")[2].split()[0])
    assert parent != os.getpid() or parent == 1  # who is PID 1 adopts all orphans
    namespaced = status.partition("NSpid:")[2].split("\n")[0].split()
    assert namespaced[-1] == "1"


def test_an_agent_killed_after_the_launch_leaves_a_job_that_the_next_one_adopts(attempts: Attempts) -> None:
    folder = attempts.write("/bin/sh", "-c", "trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done")
    script = LAUNCH + "control.launch(Path(sys.argv[1])); print('launched', flush=True); time.sleep(100)"
    agent = subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True)
    assert agent.stdout is not None
    with agent, agent.stdout:
        assert agent.stdout.readline() == "launched\n"
        agent.send_signal(signal.SIGKILL)
    wait_until(lambda: log_of(folder))
    assert control.find(folder) is not None
    order = orders.read_order(folder)
    assert order is not None
    assert order.attempt_id == folder.name
    control.extend(folder, in_seconds(30))
    control.request_stop(folder, grace_seconds=10)
    outcome = ended(folder)
    assert (outcome.cause, outcome.exit_code) == (Cause.STOPPED, 9)


def test_it_works_inside_another_pid_namespace_and_dies_with_that(attempts: Attempts, marked: str) -> None:
    """As in `gridbay up`: the outer namespace has its own numbers, and /proc may still show the host's."""
    stopped = attempts.write("/bin/sh", "-c", "trap 'exit 4' TERM; echo up; while :; do sleep 0.05; done")
    held = attempts.write("/bin/sh", "-c", f"{marked} & wait")
    script = LAUNCH + (
        "stopped, held = map(Path, sys.argv[1:]); control.launch(stopped); control.launch(held);\n"
        "log = stopped / 'output.log'\n"
        "while not (log.exists() and log.read_text()): time.sleep(0.01)\n"
        "assert control.find(stopped).pid < 1000; control.request_stop(stopped, 10)\n"
        "while control.outcome(stopped) is None: time.sleep(0.01)\n"
        "print(control.outcome(stopped).exit_code, flush=True); time.sleep(100)"
    )
    maps = [] if os.geteuid() == 0 else ["--user", f"--map-user={os.geteuid()}", f"--map-group={os.getegid()}"]
    outer = ["unshare", *maps, "--pid", "--fork", "--kill-child=KILL", "--"]
    tree = subprocess.Popen(
        [*outer, sys.executable, "-c", script, str(stopped), str(held)], stdout=subprocess.PIPE, text=True
    )
    assert tree.stdout is not None
    with tree, tree.stdout:
        assert tree.stdout.readline() == "4\n"
        wait_until(lambda: processes_like(marked))
        tree.send_signal(signal.SIGKILL)
    wait_until(lambda: processes_like(marked) == [])
    wait_until(lambda: control.was_lost(held))


def test_a_minder_that_is_stopped_enforces_nothing_and_is_found_overdue(attempts: Attempts, marked: str) -> None:
    folder = attempts.start(marked, seconds=0.5)
    wait_until(lambda: processes_like(marked))
    minder = control.find(folder)
    assert minder is not None
    os.kill(minder.pid, signal.SIGSTOP)
    assert not control.is_overdue(folder, late_ns=0) or layout.boottime_ns() > (orders.read_deadline(folder) or 0)
    wait_until(lambda: control.is_overdue(folder, late_ns=0))
    assert processes_like(marked)
    assert control.kill(folder)
    assert processes_like(marked) == []
    assert control.was_lost(folder)
