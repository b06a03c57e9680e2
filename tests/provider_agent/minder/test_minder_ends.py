"""How an attempt ends on its node, and that nothing of it is left when it has."""

import os
import signal
from pathlib import Path

import pytest
from running import SECOND_NS, Attempts, ended, in_seconds, log_of, processes_like, wait_until

from provider_agent.minder import control, layout, orders
from provider_agent.minder.orders import Cause

ORPHANS = "for i in 1 2 3 4; do setsid sh -c 'setsid {0} & exec {0}' & done; wait"


def test_the_exit_code_is_the_commands_and_its_output_is_one_log(attempts: Attempts) -> None:
    folder, outcome = attempts.run("echo one; echo two >&2; echo three; exit 5")
    assert (outcome.cause, outcome.exit_code) == (Cause.EXITED, 5)
    assert log_of(folder) == "one\ntwo\nthree\n"
    assert outcome.log_bytes == 14
    wait_until(lambda: control.find(folder) is None)


def test_a_death_by_signal_is_told_as_one(attempts: Attempts) -> None:
    _, outcome = attempts.run("kill -SEGV $$")
    assert (outcome.cause, outcome.exit_code) == (Cause.SIGNAL, 128 + signal.SIGSEGV)


def test_a_command_that_cannot_start_says_why(attempts: Attempts) -> None:
    folder = attempts.write("/no/such/program")
    control.launch(folder)
    outcome = ended(folder)
    assert (outcome.cause, outcome.exit_code) == (Cause.NOT_STARTED, None)
    assert "exec /no/such/program: [Errno 2]" in outcome.detail


def test_an_order_nobody_can_read_ends_in_words_too(attempts: Attempts) -> None:
    folder = attempts.write("/bin/true")
    (folder / layout.ORDER).write_text('{"attempt_id": ')
    control.launch(folder)
    assert "the order cannot be read" in ended(folder).detail


def test_what_the_command_leaves_behind_dies_with_it(attempts: Attempts, marked: str) -> None:
    attempts.run(f"setsid {marked} & setsid nohup {marked} & exit 0")
    assert processes_like(marked) == []


def test_killing_the_minder_kills_nested_sessions_and_loses_the_attempt(attempts: Attempts, marked: str) -> None:
    folder = attempts.start(ORPHANS.format(marked))
    wait_until(lambda: len(processes_like(marked)) == 8)
    minder = control.find(folder)
    assert minder is not None
    os.kill(minder.pid, signal.SIGKILL)
    wait_until(lambda: control.was_lost(folder), seconds=2)
    wait_until(lambda: processes_like(marked) == [], seconds=2)
    assert control.outcome(folder) is None


def test_the_deadline_kills_everything(attempts: Attempts, marked: str) -> None:
    folder = attempts.start(f"trap '' TERM; setsid {marked} & {marked}", seconds=0.5)
    deadline_ns = orders.read_deadline(folder)
    outcome = ended(folder)
    assert outcome.cause is Cause.DEADLINE
    assert deadline_ns is not None
    assert 0 <= outcome.ended_boottime_ns - deadline_ns < 2 * SECOND_NS
    assert processes_like(marked) == []


def test_a_deadline_that_already_passed_starts_nothing(attempts: Attempts) -> None:
    folder, outcome = attempts.run("echo ran", seconds=-1)
    assert (outcome.cause, outcome.exit_code) == (Cause.DEADLINE, None)
    assert log_of(folder) == ""


@pytest.mark.parametrize("spoiled", ["missing", "garbled", "empty", "of another boot"])
def test_a_deadline_that_cannot_be_read_kills(attempts: Attempts, spoiled: str) -> None:
    folder = attempts.start("sleep 100")
    path = folder / layout.DEADLINE
    contents = {"garbled": "soon\n", "empty": "", "of another boot": f"{in_seconds(60)} not-this-boot\n"}
    path.unlink()
    if spoiled in contents:
        path.write_text(contents[spoiled])
    outcome = ended(folder, seconds=3)
    assert outcome.cause is Cause.DEADLINE
    assert "missing, garbled or of another boot" in outcome.detail


def test_a_renewed_deadline_keeps_it_alive(attempts: Attempts) -> None:
    folder = attempts.start("sleep 100", seconds=0.7)
    first_ns = orders.read_deadline(folder)
    assert first_ns is not None
    control.extend(folder, in_seconds(60))
    wait_until(lambda: layout.boottime_ns() > first_ns + SECOND_NS)
    assert control.find(folder) is not None


def test_a_shortened_deadline_counts_at_once(attempts: Attempts) -> None:
    folder = attempts.start("echo up; sleep 100")
    wait_until(lambda: log_of(folder) and control.usage(folder))
    asked_ns = layout.boottime_ns()
    control.extend(folder, asked_ns)
    assert ended(folder).ended_boottime_ns - asked_ns < SECOND_NS // 2


def test_a_stop_asks_every_process_first(attempts: Attempts) -> None:
    polite = "trap 'echo {0} says bye; exit 7' TERM; echo {0} is up; while :; do sleep 0.05; done"
    script = f"""sh -c "{polite.format("child")}" & {polite.format("parent").replace("exit 7", "wait; exit 7")}"""
    folder = attempts.start(script)
    wait_until(lambda: log_of(folder).count("is up") == 2)
    control.request_stop(folder, grace_seconds=30)
    outcome = ended(folder)
    assert (outcome.cause, outcome.exit_code) == (Cause.STOPPED, 7)
    assert "child says bye" in log_of(folder)
    assert "parent says bye" in log_of(folder)


def test_a_stop_kills_what_will_not_go_after_its_grace(attempts: Attempts) -> None:
    folder = attempts.start("trap '' TERM; echo up; while :; do sleep 0.05; done")
    wait_until(lambda: log_of(folder))
    asked_ns = layout.boottime_ns()
    control.request_stop(folder, grace_seconds=0.5)
    outcome = ended(folder)
    assert outcome.cause is Cause.STOPPED
    assert SECOND_NS // 2 <= outcome.ended_boottime_ns - asked_ns < 3 * SECOND_NS


def test_a_stop_that_comes_before_the_start_runs_nothing(attempts: Attempts) -> None:
    folder = attempts.write("/bin/echo", "ran")
    control.request_stop(folder, grace_seconds=5)
    control.launch(folder)
    assert ended(folder).cause is Cause.STOPPED
    assert log_of(folder) == ""


def test_memory_without_a_cgroup_is_watched(attempts: Attempts) -> None:
    grow = "held = bytearray(300 << 20); import time; time.sleep(100)"
    _, outcome = attempts.run(f'exec /usr/bin/python3 -c "{grow}"', memory_watch_bytes=100 << 20)
    assert outcome.cause is Cause.OUT_OF_MEMORY
    assert outcome.usage.memory_peak_bytes > 100 << 20


def test_a_workdir_that_outgrows_its_disk_ends_the_attempt(attempts: Attempts, tmp_path: Path) -> None:
    script = "mkdir deep; head -c 4000000 /dev/zero > deep/big; echo written; sleep 100"
    _, outcome = attempts.run(script, disk_bytes_max=2_000_000)
    assert outcome.cause is Cause.OUT_OF_DISK
