"""What a minder writes while it runs: log, counters, and nothing that is secret."""

import json
import os
import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st
from running import Attempts, log_of, wait_until

from provider_agent.minder import control, layout
from provider_agent.minder.log_spool import TAIL_BYTES, LogSpool


def test_a_log_past_its_bound_says_so_and_ends_with_the_last_words(attempts: Attempts) -> None:
    script = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; echo the reason"
    folder, outcome = attempts.run(script, log_bytes_max=1000)
    log = log_of(folder)
    assert log.startswith("line 0\nline 1\n")
    assert log.count("[gridbay: the log is full;") == 1
    assert log.endswith("line 19999\nthe reason\n")
    assert outcome.exit_code == 0
    assert outcome.log_bytes == len(log) < 1000 + TAIL_BYTES + 200
    written = sum(len(f"line {number}\n") for number in range(20000)) + len("the reason\n")
    assert outcome.log_bytes_dropped == written - 1000


@settings(max_examples=30, deadline=None)
@example(chunks=[b"a" * 600] * 3, bound=1000)
@given(chunks=st.lists(st.binary(max_size=3000), max_size=20), bound=st.integers(0, 20_000))
def test_a_log_is_its_first_bytes_and_what_is_left_out_is_counted(chunks: list[bytes], bound: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = os.open(name, os.O_RDONLY)
        spool = LogSpool(folder, bound)
        for chunk in chunks:
            os.write(spool.writer, chunk)
            spool.pump()
        spool.close_writer()
        assert not spool.pump()
        spool.finish()
        os.close(folder)
        spool.close()
        log, whole = (Path(name) / layout.LOG).read_bytes(), b"".join(chunks)
    assert log.startswith(whole[:bound])
    assert spool.dropped == max(0, len(whole) - bound)
    if spool.dropped:
        assert log.endswith(whole[bound:][-TAIL_BYTES:])
    else:
        assert log == whole


def test_counters_only_grow_and_say_what_was_used(attempts: Attempts) -> None:
    busy = "import time; held = bytearray(80 << 20)\nwhile time.process_time() < 1.2: pass"
    folder = attempts.start(f"/usr/bin/python3 -c '{busy}'")
    usages = []
    while (outcome := control.outcome(folder)) is None:
        usage = wait_until(lambda: control.usage(folder))
        usages.append(usage)
        wait_until(lambda: control.usage(folder) != usage or control.outcome(folder))  # noqa: B023 (awaited at once)
    for name in ("run_ms", "cpu_ms", "memory_peak_bytes"):
        values = [getattr(usage, name) for usage in usages]
        assert values == sorted(values)
    assert 1200 <= outcome.usage.cpu_ms < 3000
    assert outcome.usage.run_ms >= 1200
    assert outcome.usage.memory_peak_bytes > 80 << 20
    assert len(usages) >= 2


def test_the_environment_reaches_the_command_and_leaves_the_disk(attempts: Attempts) -> None:
    folder, _ = attempts.run("echo $SECRET; env | wc -l", environment={"SECRET": "canary-5512"})
    assert log_of(folder).startswith("canary-5512\n")
    left = [path for path in folder.rglob("*") if path.is_file() and path.name != layout.LOG]
    assert not any(b"canary-5512" in path.read_bytes() for path in left)
    assert json.loads((folder / layout.ORDER).read_bytes())["command"].keys().isdisjoint({"environment"})
    assert (folder / layout.LOCK).read_bytes() == b""


def test_an_attempt_that_is_over_within_a_moment_leaves_few_files(attempts: Attempts) -> None:
    folder, _ = attempts.run("true")
    wanted = {layout.ORDER, layout.DEADLINE, layout.LOCK, layout.STARTED, layout.LOG, layout.OUTCOME}
    assert {path.name for path in folder.iterdir()} == wanted | {"work"}
    assert (folder / layout.STARTED).samefile(folder / layout.LOCK)  # a name costs less than a file


def test_descriptors_of_the_minder_are_closed_to_the_command(attempts: Attempts) -> None:
    folder, _ = attempts.run("ls /proc/self/fd | wc -l")
    assert log_of(folder) == "4\n"  # three, and the one that ls reads the folder by


@given(deadline_ns=st.integers(0, 2**62), noise=st.text(max_size=30))
def test_only_a_whole_deadline_of_this_boot_counts(deadline_ns: int, noise: str) -> None:
    text = layout.deadline_text(deadline_ns)
    assert layout.parse_deadline(text) == deadline_ns
    assert layout.parse_deadline(noise) is None
    assert layout.parse_deadline(text[: len(text) // 2]) is None
