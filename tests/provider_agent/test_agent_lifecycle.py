"""The life of an attempt on its node, each way it can go, with the real minder and the real sandbox."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from agent_process import AgentProcess, archive, is_running
from far_side import TOKEN, FarSide

from market.states import Reason
from provider_agent.attempts.record import Record, Result, Stage, read_record
from provider_agent.minder import control, layout, orders
from provider_agent.sandbox.runtime import find_runtime

JOBS = Path(__file__).parents[2] / ".venv-jobs"


def test_a_job_runs_and_everything_of_it_arrives(far: FarSide, agent: AgentProcess) -> None:
    attempt_id = far.want(
        "cat in.txt; echo to stderr >&2; mkdir out; cp in.txt out/a.txt; echo 1 > metrics.json; echo no > other",
        workdir=archive(**{"in.txt": "hello\n"}),
        outputs=["metrics.json", "out/*.txt"],
    )

    exited = far.exit_of(attempt_id)

    wanted = far.attempts[attempt_id]
    assert (exited.reason, exited.exit_code) == (Reason.SUCCEEDED, 0)
    assert bytes(wanted.log) == b"hello\nto stderr\n"
    assert exited.log_bytes == len(wanted.log)
    assert set(wanted.outputs) == {"metrics.json", "out/a.txt"}
    assert far.blobs[f"out/{attempt_id}/out/a.txt"] == b"hello\n"
    (chain,) = far.wait(lambda: [chain for chain in far.chains(attempt_id) if chain[-1].final])
    assert 0 < chain[-1].run_ms < 60_000
    assert far.complaints == []


def test_an_end_that_the_portal_cannot_hear_of_is_written_down(far: FarSide, agent: AgentProcess) -> None:
    far.fail(lambda _, path: path == "/agent/v1/reports", times=1000)
    attempt_id = far.want("exit 3")

    def ended() -> Record | None:
        record = read_record(agent.attempt_dir(attempt_id))
        return record if record is not None and record.stage is Stage.ENDED else None

    record = far.wait(ended)
    assert record.final_read
    assert record.result == Result(reason=Reason.FAILED_EXIT_CODE, exit_code=3)


def test_an_order_that_came_with_the_poll_is_not_asked_for(far: FarSide, agent: AgentProcess) -> None:
    far.orders_unasked = True
    attempt_id = far.want("echo here")
    assert far.exit_of(attempt_id).exit_code == 0
    assert ("GET", f"/agent/v1/attempts/{attempt_id}/order") not in far.requests
    assert any(attempt_id in (poll.known or []) for poll in far.polls), "from then on it is known"


def test_the_command_finds_what_it_is_promised_and_secrets_stay_in_its_memory(
    far: FarSide, agent: AgentProcess
) -> None:
    secret = "canary-7f3a9c"
    attempt_id = far.want(
        "env; test -n $API_KEY && while [ ! -e go ]; do sleep 0.05; done",
        env={"EPOCHS": "5", "NODES": "99"},
        secrets={"API_KEY": secret},
    )
    far.wait(lambda: far.attempts[attempt_id].statuses)
    for path in [path for path in agent.state.rglob("*") if path.is_file()]:
        # While it runs: the minder has taken the environment and left none of it on disk (the log is the job's own).
        assert path.name == layout.LOG or secret.encode() not in path.read_bytes(), path
        assert path.stat().st_mode & 0o077 == 0 or path.is_relative_to(agent.attempt_dir(attempt_id)), path
    (agent.attempt_dir(attempt_id) / "work" / "go").touch()
    far.exit_of(attempt_id)

    environment = dict(
        line.partition("=")[::2] for line in bytes(far.attempts[attempt_id].log).decode().splitlines() if "=" in line
    )
    assert environment["EPOCHS"] == "5"
    assert environment["API_KEY"] == secret
    assert environment["GRIDBAY_JOB_ID"] == far.attempts[attempt_id].order.job_id
    assert (environment["GRIDBAY_ATTEMPT"], environment["NODES"], environment["NODE_RANK"]) == ("1", "1", "0")
    assert (environment["MASTER_ADDR"], environment["GPUS_PER_NODE"]) == ("127.0.0.1", "0")
    assert environment["CUDA_VISIBLE_DEVICES"] == environment["NVIDIA_VISIBLE_DEVICES"] == ""
    journal = agent.journal.read_text()
    assert secret not in journal
    assert TOKEN not in journal


ENDS: list[tuple[str, dict[str, object], Reason, int | None]] = [
    ("exit 7", {}, Reason.FAILED_EXIT_CODE, 7),
    ("kill -SEGV $$", {}, Reason.FAILED_SIGNAL, 139),
    ("sleep 60", {"held_seconds": 0.9}, Reason.STOPPED_LEASE_EXPIRED, None),
    ("sleep 60", {"run_for_seconds": 1}, Reason.STOPPED_MAX_DURATION, None),
    ("echo x", {"workdir": b"no archive at all"}, Reason.FAILED_WORKDIR, None),
    ("echo x", {"workdir": archive(a="b"), "workdir_sha256": "0" * 64}, Reason.FAILED_WORKDIR, None),
    ("echo x", {"workdir": archive(a="b" * 4096), "disk_bytes": 1000}, Reason.FAILED_WORKDIR, None),
]


def test_each_end_has_its_reason_and_its_final_reading(far: FarSide, agent: AgentProcess) -> None:
    placed = [(far.want(run, **order), reason, exit_code) for run, order, reason, exit_code in ENDS]

    for attempt_id, reason, exit_code in placed:
        exited = far.exit_of(attempt_id)
        assert exited.reason is reason, exited
        assert exit_code is None or exited.exit_code == exit_code
        assert far.wait(lambda attempt_id=attempt_id: [one for one in far.chains(attempt_id) if one[-1].final])


def test_a_stop_gives_the_command_its_grace_and_keeps_the_reason(far: FarSide, agent: AgentProcess) -> None:
    run = "trap 'echo saved; exit 0' TERM; echo ready; while true; do sleep 0.05; done"
    attempt_id = far.want(run, stop_grace_seconds=20)
    far.wait(lambda: b"ready" in far.attempts[attempt_id].log)

    far.stop(attempt_id, Reason.STOPPED_BALANCE_EXHAUSTED)

    exited = far.exit_of(attempt_id, seconds=10)
    assert exited.reason is Reason.STOPPED_BALANCE_EXHAUSTED
    assert far.attempts[attempt_id].log.endswith(b"saved\n")


def test_a_job_stopped_before_it_began_never_runs(far: FarSide, agent: AgentProcess) -> None:
    far.fail(lambda _, path: "/storage/" in path, times=1000)
    attempt_id = far.want("echo ran", workdir=archive(a="b"))
    far.wait(lambda: [path for _, path in far.requests if "/storage/" in path])

    far.stop(attempt_id, Reason.STOPPED_BY_USER)

    assert far.exit_of(attempt_id).reason is Reason.STOPPED_BY_USER
    assert far.attempts[attempt_id].log == b""


def test_an_attempt_that_is_not_listed_is_killed_and_forgotten(far: FarSide, agent: AgentProcess) -> None:
    attempt_id = far.want("echo on; trap '' TERM; while true; do sleep 0.05; done")
    far.wait(lambda: far.attempts[attempt_id].log)
    minder = control.find(agent.attempt_dir(attempt_id))
    assert minder is not None

    far.unlist(attempt_id)

    far.wait(lambda: not agent.attempt_dir(attempt_id).exists())
    assert not is_running(minder.pid)
    assert far.attempts[attempt_id].exited is None
    far.wait(lambda: [chain for chain in far.chains(attempt_id) if chain[-1].final])


def test_an_ended_attempt_is_kept_until_it_is_no_longer_listed_and_does_not_run_again(
    far: FarSide, agent: AgentProcess
) -> None:
    attempt_id = far.want("echo once")
    far.exit_of(attempt_id)
    polls = len(far.polls)
    far.wait(lambda: len(far.polls) >= polls + 2)
    assert agent.attempt_dir(attempt_id).exists()

    far.unlist(attempt_id)
    far.wait(lambda: not agent.attempt_dir(attempt_id).exists())

    assert far.attempts[attempt_id].log == b"once\n"
    assert [status.state for status in far.attempts[attempt_id].statuses].count("exited") == 1


def test_the_lease_is_counted_from_when_the_poll_was_sent_and_never_ends_early_or_late(
    far: FarSide, joined: Callable[..., AgentProcess]
) -> None:
    attempt_id = far.want("sleep 60", held_seconds=60)
    truth_ns = far.attempts[attempt_id].held_until_ns
    # What is left is computed, and then the answer takes another 1.5 s.
    far.hold_polls_seconds = 1.5
    agent = joined().start()
    deadline_ns = far.wait(lambda: _deadline(agent, attempt_id))
    assert deadline_ns <= truth_ns
    far.hold_polls_seconds = 0

    # Whatever waited in between, a quick answer makes it exact, and slow ones do not make it earlier again.
    far.wait(lambda: (_deadline(agent, attempt_id) or 0) > truth_ns - 0.3e9)
    polls = len(far.polls)
    far.wait(lambda: len(far.polls) >= polls + 3)
    assert truth_ns - 0.3e9 < (_deadline(agent, attempt_id) or 0) <= truth_ns


def _deadline(agent: AgentProcess, attempt_id: str) -> int | None:
    folder = agent.attempt_dir(attempt_id)
    return orders.read_deadline(folder) if folder.exists() else None


def test_a_minder_that_does_not_kill_in_time_is_killed(far: FarSide, agent: AgentProcess) -> None:
    attempt_id = far.want("echo on; sleep 600", stop_grace_seconds=0)
    far.wait(lambda: far.attempts[attempt_id].log)
    minder = control.find(agent.attempt_dir(attempt_id))
    assert minder is not None
    os.kill(minder.pid, 19)  # SIGSTOP: it enforces nothing any more

    far.stop(attempt_id, Reason.STOPPED_BY_USER)

    assert far.exit_of(attempt_id).reason is Reason.STOPPED_BY_USER
    assert not is_running(minder.pid)


def test_outputs_that_cannot_be_kept_fail_the_job_and_a_missing_one_is_told(far: FarSide, agent: AgentProcess) -> None:
    missing = far.want("true", outputs=["metrics.json"])
    many = far.want("mkdir o; for i in $(seq 1001); do : > o/$i; done", outputs=["o"])

    assert far.exit_of(missing).reason is Reason.SUCCEEDED
    assert "metrics.json" in far.exit_of(missing).detail
    assert far.exit_of(many).reason is Reason.FAILED_OUTPUTS


def test_several_attempts_run_at_once_under_users_of_their_own(far: FarSide, agent: AgentProcess) -> None:
    ids = [far.want("id -u; while [ ! -e go ]; do sleep 0.05; done; echo done") for _ in range(3)]
    far.wait(lambda: all(far.attempts[attempt_id].log for attempt_id in ids))
    slots = {json.loads((agent.attempt_dir(one) / "attempt.json").read_text())["slot"] for one in ids}
    for attempt_id in ids:
        (agent.attempt_dir(attempt_id) / "work" / "go").touch()

    assert all(far.exit_of(attempt_id).reason is Reason.SUCCEEDED for attempt_id in ids)
    assert len(slots) == 3


@pytest.mark.skipif(not JOBS.exists(), reason="the environment of jobs is not made: make setup")
def test_a_jobs_python_is_the_one_of_its_environment(far: FarSide, joined: Callable[..., AgentProcess]) -> None:
    joined().start("--job-runtime", str(JOBS))
    attempt_id = far.want("python -c 'import sklearn, sys; print(sys.version.split()[0], sys.prefix)'")

    assert far.exit_of(attempt_id).reason is Reason.SUCCEEDED
    version = find_runtime(JOBS).version
    assert bytes(far.attempts[attempt_id].log).decode() == f"{version} /opt/gridbay/jobs\n"


def test_the_agent_stays_small(far: FarSide, agent: AgentProcess) -> None:
    attempt_id = far.want("for i in $(seq 20000); do echo line $i of a log that is shipped; done", outputs=["x"])
    far.exit_of(attempt_id)
    rollup = Path(f"/proc/{agent.pid}/smaps_rollup").read_text()
    pss = next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    assert pss <= 100 * 1024, f"{pss} KiB"
    maps = Path(f"/proc/{agent.pid}/maps").read_text()
    assert "/ray/" not in maps
