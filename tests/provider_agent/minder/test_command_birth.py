"""What a command is born with, and what its minder and nursery do where that, or a fork, is refused."""

import errno
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import Attempts, ended, in_seconds, log_of

from provider_agent import namespaces
from provider_agent.minder import control, launcher, mounts, nursery, orders
from provider_agent.minder.orders import Cause, Cgroup, Command, Order

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="identities and mounts are root's to give")
USER = 234_567
SYS_ADMIN = 1 << 21
FILE_CAPABILITIES = 0x0200_0001  # revision 2, effective (linux/capability.h)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A place to mount something on."""
    place = tmp_path / "disk"
    place.mkdir()
    yield place
    subprocess.run(["umount", place], check=False, stderr=subprocess.DEVNULL)


def run(folder: Path, *argv: str, **fields: object) -> tuple[orders.Outcome, str]:
    command = Command.model_validate({"argv": argv, "directory": Path("/"), **fields})
    workdir = folder / "work"
    workdir.mkdir(parents=True)
    orders.write_order(folder, Order(attempt_id=folder.name, command=command, workdir=workdir), in_seconds(60))
    control.launch(folder)
    return ended(folder), log_of(folder)


@needs_root
def test_a_programs_own_capabilities_give_the_commands_user_nothing(tmp_path: Path) -> None:
    """Neither while it is born: with a user of root's left, the kernel would leave it all that root has."""
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents[:2]:
        folder.chmod(0o755)
    program = tmp_path / "cat"
    program.write_bytes(Path("/bin/cat").read_bytes())
    program.chmod(0o755)
    value = struct.pack("<5I", FILE_CAPABILITIES, SYS_ADMIN, 0, 0, 0)
    os.setxattr(program, "security.capability", value)
    outcome, log = run(tmp_path / "a", str(program), "/proc/self/status", uid=USER)
    status = dict(line.split(":\t", 1) for line in log.splitlines() if ":\t" in line)
    assert outcome.exit_code == 0, log
    assert status["Uid"] == status["Gid"] == "\t".join([str(USER)] * 4)
    assert {name: int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {
        "CapInh": 0,
        "CapPrm": 0,
        "CapEff": 0,
        "CapAmb": 0,
    }


@needs_root
@pytest.mark.parametrize("sandbox_levels", [0, 1])
def test_what_is_mounted_after_the_first_launch_is_there_for_the_next(
    tmp_path: Path, disk: Path, sandbox_levels: int
) -> None:
    assert run(tmp_path / "a", "/bin/true", sandbox_levels=sandbox_levels)[0].exit_code == 0
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", disk], check=True)
    (disk / "data").write_text("mine")
    for name in "bc":  # one waited for its order already, the next is forked from then on
        assert run(tmp_path / name, "/bin/cat", str(disk / "data"), sandbox_levels=sandbox_levels)[1] == "mine"


@needs_root
def test_a_command_without_a_sandbox_sees_the_machines_mounts_and_one_with_begins_without_sys(tmp_path: Path) -> None:
    plain = run(tmp_path / "a", "/bin/ls", "/sys")[1]
    walled = run(tmp_path / "b", "/bin/ls", "/sys", sandbox_levels=1)[1]
    assert "kernel" in plain.split()
    assert walled == ""


@needs_root
def test_lean_mounts_are_not_used_once_the_machines_have_changed(disk: Path) -> None:
    lean = mounts.lean_mounts()
    assert lean is not None
    assert lean.is_current()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", disk], check=True)
    assert not lean.is_current()
    again = lean.renewed()
    assert again is not None
    assert again.is_current()
    os.close(again.descriptor)


@needs_root
def test_no_lean_mounts_for_whom_the_way_back_would_lead_out_of_a_chroot(tmp_path: Path) -> None:
    """Entering a mount namespace sets the root, too."""
    code = (
        "import os, sys; sys.path.append(sys.argv[1]); from provider_agent.minder import mounts; "
        "open(os.devnull, encoding='ascii'); "
        "os.chroot(sys.argv[2]); os.chdir('/'); print(mounts.lean_mounts())"
    )
    root = tmp_path / "root"
    (root / "proc").mkdir(parents=True)
    subprocess.run(["mount", "-t", "proc", "proc", root / "proc"], check=True)
    try:
        program = str(Path(mounts.__file__).parents[2])
        found = subprocess.run([sys.executable, "-c", code, program, root], capture_output=True, text=True, check=True)
    finally:
        subprocess.run(["umount", root / "proc"], check=True)
    assert found.stdout == "None\n"


def test_a_group_that_cannot_be_joined_is_named_and_one_that_cannot_be_left_ends_the_command(
    tmp_path: Path, attempts: Attempts
) -> None:
    good, full = tmp_path / "tasks", Path("/dev/full")
    good.touch()
    outcome, _ = run(tmp_path / "a", "/bin/sleep", "100", cgroup=Cgroup(join=(full,), leave=(good,)))
    assert (outcome.cause, outcome.exit_code) == (Cause.NOT_STARTED, None)
    assert outcome.detail.startswith("join cgroups: ")
    outcome, _ = run(tmp_path / "b", "/bin/sleep", "100", cgroup=Cgroup(join=(good,), leave=(full,)))
    assert outcome.cause is Cause.NOT_STARTED
    assert outcome.detail.startswith("leave cgroups: ")
    outcome, _ = run(tmp_path / "c", "/no/such", cgroup=Cgroup(join=(good,), leave=(full,)))
    assert outcome.detail.startswith("exec /no/such: "), "the first thing that went wrong is told"


def test_where_nothing_can_be_forked_who_asks_is_told_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refused() -> int:
        raise OSError(errno.EAGAIN, "no more processes")

    monkeypatch.setattr(os, "fork", refused)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    heard, tell = os.pipe()
    with ours, theirs, (tmp_path / "errors").open("wb") as errors:
        socket.send_fds(ours, [b"/folder"], [tell, errors.fileno()])
        os.close(tell)
        assert not nursery._next_was_asked(theirs, None, None)
    assert os.read(heard, 1) == b""
    os.close(heard)
    assert "no more processes" in (tmp_path / "errors").read_text()


def test_who_may_not_unshare_makes_no_lean_mounts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespaces, "may_unshare", lambda: False)
    assert mounts.lean_mounts() is None


def test_a_nursery_that_does_not_answer_is_asked_once(attempts: Attempts, monkeypatch: pytest.MonkeyPatch) -> None:
    silent, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    asked = launcher.Nursery()
    asked._socket, asked._owner = silent, os.getpid()
    monkeypatch.setattr(launcher, "START_SECONDS_MAX", 0.05)
    folder = attempts.write("/bin/true")
    with peer:  # open, and silent, all the while
        with pytest.raises(launcher.LaunchFailed, match="was not alive"):
            launcher.launch(folder, asked)
        monkeypatch.undo()
        launcher.launch(folder, asked)
    assert ended(folder).exit_code == 0
    asked.close()
