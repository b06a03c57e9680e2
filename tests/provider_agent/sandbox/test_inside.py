"""What a job finds inside: its files, its Python, its limits, its devices; and what the host sees of it."""

import os
import resource
import secrets
import time
from dataclasses import replace
from pathlib import Path

import pytest
from inside import CUSTOMER_SECRET, JOBS, SMALL, Jobs

from provider_agent.minder import control, launcher, layout, orders
from provider_agent.minder.orders import Cause
from provider_agent.sandbox import cgroups
from provider_agent.sandbox.bubblewrap import Bubblewrap
from provider_agent.sandbox.choice import Choice
from provider_agent.sandbox.port import MEBIBYTE, Limits, Request

needs_groups = pytest.mark.skipif(os.geteuid() != 0, reason="cgroups are made by root; a plain user has rlimits")


def test_what_it_writes_in_work_is_what_the_agent_reads(jobs: Jobs) -> None:
    attempt = jobs.start("pwd; mkdir out; echo 0.98 > out/metric; cp /usr/bin/env /tmp/env && /tmp/env true")
    outcome, log = jobs.end(attempt)
    assert (outcome.exit_code, log) == (0, "/work\n")
    assert (attempt / "work" / "out" / "metric").read_text() == "0.98\n"


def test_its_environment_is_clean_but_for_what_was_asked(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENT_TOKEN", "canary")
    _, log = jobs.run("env", environment={"LR": "0.1", "HOME": "/tmp"}, limits=Limits(2, 64 * MEBIBYTE))
    found = dict(line.split("=", 1) for line in log.splitlines())
    assert {"AGENT_TOKEN", "LC_ALL"}.isdisjoint(found)
    assert (found["LR"], found["HOME"], found["USER"], found["OMP_NUM_THREADS"]) == ("0.1", "/tmp", "job", "2")


def test_the_customers_environment_is_for_inside_only(choice: Choice, tmp_path: Path) -> None:
    """Bubblewrap itself runs before the walls stand: LD_PRELOAD of a customer there would be code of theirs outside."""
    request = Request("a", ("/bin/true",), tmp_path, 0, SMALL, {"LD_PRELOAD": "/work/own.so", "KEY": CUSTOMER_SECRET})
    command = choice.sandbox.prepare(request)
    try:
        assert command.environment.keys() == {"PATH", "LC_ALL"}
        assert CUSTOMER_SECRET not in "".join(command.argv)
    finally:
        choice.sandbox.clean_up(orders.Order(attempt_id="a", command=command, workdir=tmp_path))


def test_a_customers_secret_shows_on_no_command_line_of_the_host(jobs: Jobs) -> None:
    attempt = jobs.start("echo up; exec sleep 100", environment={"KEY": CUSTOMER_SECRET})
    while not _read(orders.log_path(attempt)):
        assert control.outcome(attempt) is None
    lines = b"".join(_read(path) for path in Path("/proc").glob("[0-9]*/cmdline"))
    assert CUSTOMER_SECRET.encode() not in lines
    assert b"sleep\x00100" in lines


@pytest.mark.skipif(not JOBS.exists(), reason="the environment of jobs is not set up (make setup)")
def test_python_is_the_jobs_own_with_its_packages(jobs: Jobs) -> None:
    code = (
        "import sys, numpy, importlib.util as u; print(sys.prefix, u.find_spec('sklearn').origin, u.find_spec('ray'))"
    )
    outcome, log = jobs.run(f'python -c "{code}"')
    assert outcome.exit_code == 0, log
    prefix, sklearn, ray = log.split()
    assert prefix == "/opt/gridbay/jobs"
    assert sklearn.startswith("/opt/gridbay/jobs/lib/")
    assert ray == "None"


def test_a_leased_device_is_there_and_no_other(jobs: Jobs) -> None:
    """/dev/kmsg stands in for a GPU's node: this machine has none."""
    script = "for name in kmsg mem net; do test -e /dev/$name && echo $name; done; test -c /dev/kmsg"
    outcome, log = jobs.run(script, devices=(Path("/dev/kmsg"),))
    assert (outcome.exit_code, log) == (0, "kmsg\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give an attempt a user of its own")
def test_as_root_every_attempt_is_its_own_user_on_the_host(
    jobs: Jobs, choice: Choice, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(choice.sandbox, Bubblewrap)
    assert choice.sandbox.users is not None
    first = choice.sandbox.users.first
    marked = f"sleep\x001000.{secrets.randbelow(10**9)}\x00".encode()
    nursery = launcher.Nursery()
    monkeypatch.setattr(launcher, "_nursery", nursery)
    groups = os.getgroups()
    os.setgroups([0, 4])  # an agent's groups, and so those of its nursery, are not for jobs
    try:
        script = f"touch mine; echo up; exec {marked.decode().replace(chr(0), ' ')}"
        attempts = [jobs.start(script) for _ in range(2)]
    finally:
        os.setgroups(groups)
    for slot, attempt in enumerate(attempts):
        while marked not in [
            _read(path) for path in Path("/proc").glob("[0-9]*/cmdline") if _uid(path) == first + slot
        ]:
            assert control.outcome(attempt) is None
        assert (attempt / "work" / "mine").stat().st_uid == first + slot
    processes = [path.parent for path in Path("/proc").glob("[0-9]*/cmdline") if _read(path) == marked]
    assert {process.stat().st_uid for process in processes} == {first, first + 1}
    assert all(b"\nGroups:\t \n" in _read(process / "status") for process in processes)
    nursery.close()


@needs_groups
def test_what_the_command_is_born_with_its_minder_takes_off_again(jobs: Jobs, choice: Choice) -> None:
    """Users, groups, mounts, score: who holds the command's end in hand is not bounded as the command is."""
    assert isinstance(choice.sandbox, Bubblewrap)
    assert choice.sandbox.users is not None
    attempt = jobs.start("echo up; exec sleep 100")
    while not _read(orders.log_path(attempt)):
        assert control.outcome(attempt) is None
    minder = control.find(attempt)
    assert minder is not None
    (command,) = Path(f"/proc/{minder.pid}/task/{minder.pid}/children").read_text().split()
    user = choice.sandbox.users.first
    for pid, uid, score in (
        (str(minder.pid), 0, Path("/proc/self/oom_score_adj").read_text()),
        (command, user, "500\n"),
    ):
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        assert status["Uid"] == status["Gid"] == "\t".join([str(uid)] * 4)
        assert status["NoNewPrivs"] == "1"
        assert status["Groups"].strip() == ""
        assert Path(f"/proc/{pid}/oom_score_adj").read_text() == score
    own, theirs = (Path(f"/proc/{pid}/cgroup").read_text() for pid in (minder.pid, command))
    assert own == Path("/proc/self/cgroup").read_text()
    assert theirs.count(attempt.name) == (4 if choice.sandbox.groups.version == 1 else 1)
    mounts = [Path(f"/proc/{pid}/ns/mnt").readlink() for pid in ("self", str(minder.pid), command)]
    assert mounts[0] == mounts[1] != mounts[2]


@needs_groups
def test_a_job_that_asks_for_next_to_no_memory_takes_no_minder_with_it(jobs: Jobs) -> None:
    outcome, log = jobs.run("true", limits=Limits(cpus=1, memory_bytes=128 * 1024))
    assert (outcome.cause, outcome.exit_code, log) == (Cause.EXITED, 0, "")


def test_without_groups_memory_is_bounded_before_anything_of_the_customers_runs(
    jobs: Jobs, choice: Choice, tmp_path: Path
) -> None:
    """A library of theirs in LD_PRELOAD would run in whatever sets it inside, before it does."""
    assert isinstance(choice.sandbox, Bubblewrap)
    walls = replace(choice.sandbox, groups=None)
    (tmp_path / "x").mkdir()
    argv = walls.prepare(Request("x", ("/bin/true",), tmp_path / "x", 0, SMALL)).argv
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    most = SMALL.memory_bytes if hard == resource.RLIM_INFINITY else min(hard, SMALL.memory_bytes)
    assert argv[:4] == ("/usr/bin/prlimit", f"--data={most}:{most}", "--", str(walls.program))
    bounded = Jobs(tmp_path / "jobs", walls)
    _, log = bounded.run("ulimit -d", limits=SMALL)
    bounded.close()
    assert log == f"{most // 1024}\n"


def test_sockets_work_between_its_own_processes(jobs: Jobs) -> None:
    code = (
        "import socket; s = socket.create_server(('127.0.0.1', 0)); socket.create_connection(s.getsockname()).close();"
        "socket.socket(socket.AF_INET6); socket.socketpair();"
        "import multiprocessing as m; print(m.Pool(2).map(abs, [-1]))"
    )
    outcome, log = jobs.run(f'/usr/bin/python3 -W ignore -c "{code}"')
    assert (outcome.exit_code, log) == (0, "[1]\n")


def test_no_user_namespace_even_where_no_filter_is_known(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """An architecture without a filter still has bubblewrap's own bolt."""
    monkeypatch.setattr("provider_agent.sandbox.system_calls.filter_program", lambda: None)
    outcome, log = jobs.run("grep Seccomp: /proc/self/status; unshare --user true")
    assert outcome.exit_code != 0
    assert log.startswith("Seccomp:\t0\n")
    assert "No space left on device" in log


def test_a_stop_reaches_the_command_and_not_the_walls_around_it(jobs: Jobs) -> None:
    attempt = jobs.start("trap 'echo saved; exit 3' TERM; echo up; while :; do sleep 0.05; done")
    while not _read(orders.log_path(attempt)):
        assert control.outcome(attempt) is None
    control.request_stop(attempt, grace_seconds=20)
    outcome, log = jobs.end(attempt)
    assert (outcome.cause, outcome.exit_code) == (Cause.STOPPED, 3)
    assert log.endswith("saved\n")


def test_a_death_by_signal_is_told_through_the_walls(jobs: Jobs) -> None:
    outcome, _ = jobs.run("kill -ABRT $$")
    assert (outcome.cause, outcome.exit_code) == (Cause.SIGNAL, 134)


def test_memory_is_bounded(jobs: Jobs) -> None:
    """By a cgroup the kernel kills; without one the allocation fails or the minder kills."""
    code = "held = bytearray(400 << 20); import time; time.sleep(5)"
    outcome, log = jobs.run(f"/usr/bin/python3 -c '{code}'", limits=Limits(1, 100 * MEBIBYTE))
    assert outcome.exit_code != 0
    assert outcome.cause is Cause.OUT_OF_MEMORY or "MemoryError" in log


def test_processes_are_bounded(jobs: Jobs) -> None:
    code = "import os\nwhile True:\n  if os.fork() == 0: os.read(os.pipe()[0], 1)"
    outcome, log = jobs.run(f"/usr/bin/python3 -c '{code}'", limits=Limits(1, 512 * MEBIBYTE, processes_max=40))
    assert outcome.exit_code == 1
    assert "Resource temporarily unavailable" in log


@pytest.mark.parametrize("folder", ["/tmp", "/dev/shm"])
def test_scratch_is_bounded(jobs: Jobs, folder: str) -> None:
    limits = Limits(1, 256 * MEBIBYTE, scratch_bytes=8 * MEBIBYTE)
    outcome, log = jobs.run(f"head -c 20000000 /dev/zero > {folder}/big", limits=limits)
    assert outcome.exit_code != 0
    assert "No space left on device" in log


@needs_groups
@pytest.mark.parametrize(("cpus", "share_max"), [(0.4, 0.6), (0.05, 0.25)], ids=["some", "less than building needs"])
def test_cpu_is_bounded_and_counted(jobs: Jobs, cpus: float, share_max: float) -> None:
    code = "import time\nuntil = time.monotonic() + 1.5\nwhile time.monotonic() < until: pass"
    outcome, _ = jobs.run(f"/usr/bin/python3 -c '{code}'", limits=Limits(cpus, 256 * MEBIBYTE))
    share = outcome.usage.cpu_ms / outcome.usage.run_ms
    assert 0 < share < share_max


@needs_groups
def test_groups_are_gone_after_the_end_and_after_a_lost_minder(jobs: Jobs) -> None:
    ended, lost = jobs.start("true"), jobs.start("sleep 100")
    jobs.end(ended)
    folders = {attempt: jobs.orders[attempt].command.cgroup.folders for attempt in (ended, lost)}
    assert not any(folder.exists() for folder in folders[ended])
    assert all(folder.exists() for folder in folders[lost])
    control.kill(lost)
    for _ in range(2):
        jobs.sandbox.clean_up(jobs.orders[lost])
    assert not any(folder.exists() for folder in folders[lost])


@needs_groups
def test_forgotten_groups_are_swept_and_those_in_use_are_not(jobs: Jobs, choice: Choice) -> None:
    forgotten, used = jobs.start("sleep 100"), jobs.start("echo up; exec sleep 100")
    while not _read(orders.log_path(used)):
        assert control.outcome(used) is None
    control.kill(forgotten)
    assert isinstance(choice.sandbox, Bubblewrap)
    assert choice.sandbox.groups is not None
    left = {attempt: jobs.orders[attempt].command.cgroup.folders for attempt in (forgotten, used)}
    cgroups.sweep(choice.sandbox.groups, now=time.time())
    assert all(folder.exists() for folder in left[forgotten]), "too young to be forgotten"
    for folder in (*left[forgotten], *left[used]):
        os.utime(folder, (0, 0))  # only these grow old: other agents of this machine have theirs next to them
    cgroups.sweep(choice.sandbox.groups, now=time.time())
    assert not any(folder.exists() for folder in left[forgotten])
    assert all(folder.exists() for folder in left[used])


def test_nothing_of_a_lost_attempt_runs_on(jobs: Jobs) -> None:
    attempt = jobs.start("setsid sleep 1234.5 & exec sleep 1234.5")
    while sum(_read(path) == b"sleep\x001234.5\x00" for path in Path("/proc").glob("[0-9]*/cmdline")) < 2:
        assert control.outcome(attempt) is None
    assert control.kill(attempt)
    assert not any(_read(path) == b"sleep\x001234.5\x00" for path in Path("/proc").glob("[0-9]*/cmdline"))
    assert control.was_lost(attempt)
    assert not (attempt / layout.ENVIRONMENT).exists()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _uid(path: Path) -> int | None:
    try:
        return path.stat().st_uid
    except OSError:
        return None
