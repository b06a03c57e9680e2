"""The agent is killed, cut off, or loses what it had: jobs run on, and nothing is lost, doubled or run twice."""

import re
from collections.abc import Callable
from pathlib import Path

from agent_process import AgentProcess, archive, is_running
from far_side import JOIN_TOKEN, FarSide, serving

from market.readings import Reading
from market.states import Reason
from provider_agent.join import Offering, join
from provider_agent.minder import control, orders

COUNT = "echo start >> starts; for i in $(seq 20); do echo line $i; sleep 0.1; done; cat starts"
COUNTED = b"".join(b"line %d\n" % number for number in range(1, 21)) + b"start\n"


def final_chain(far: FarSide, attempt_id: str) -> list[Reading]:
    """The one stream of an attempt, complete."""
    (chain,) = far.wait(lambda: [chain for chain in far.chains(attempt_id) if chain[-1].final], seconds=10)
    assert len(far.chains(attempt_id)) == 1
    return list(chain)


def test_an_agent_killed_again_and_again_loses_doubles_and_repeats_nothing(
    far: FarSide, joined: Callable[..., AgentProcess]
) -> None:
    agent = joined()
    attempt_id = far.want(COUNT, outputs=["starts"], workdir=archive(a="b"))
    # Each time after some of its requests: while it fetches, launches, ships, delivers, or reports.
    for requests in (2, 4, 6, 9):
        before = len(far.requests)
        agent.start()
        far.wait(lambda before=before, requests=requests: len(far.requests) >= before + requests)
        agent.kill()
    agent.start()

    exited = far.exit_of(attempt_id)

    assert exited.reason is Reason.SUCCEEDED
    assert bytes(far.attempts[attempt_id].log) == COUNTED
    chain = final_chain(far, attempt_id)
    assert chain[-1].run_ms >= 2000
    assert far.blobs[f"out/{attempt_id}/starts"] == b"start\n"
    assert far.complaints == []


def test_a_kill_between_the_decision_and_the_start_starts_it_once(
    far: FarSide, joined: Callable[..., AgentProcess]
) -> None:
    agent = joined()
    attempt_id = far.want("echo once")
    agent.start("--launch-delay", "600")
    far.wait((agent.attempt_dir(attempt_id) / "order.json").exists)
    agent.kill()

    agent.start()

    assert far.exit_of(attempt_id).reason is Reason.SUCCEEDED
    assert bytes(far.attempts[attempt_id].log) == b"once\n"


def test_a_kill_before_the_order_was_complete_has_it_prepared_anew(
    far: FarSide, joined: Callable[..., AgentProcess]
) -> None:
    agent = joined()
    attempt_id = far.want("echo once")
    agent.start("--launch-delay", "600")
    order = agent.attempt_dir(attempt_id) / "order.json"
    far.wait(order.exists)
    agent.kill()
    order.unlink()  # as if the kill had come before it was written; that its record is on disk is older

    agent.start()

    assert far.exit_of(attempt_id).reason is Reason.SUCCEEDED
    assert bytes(far.attempts[attempt_id].log) == b"once\n"


def test_a_fault_of_ours_before_the_start_ends_the_attempt_after_some_tries(
    far: FarSide, joined: Callable[..., AgentProcess]
) -> None:
    joined().start("--launch-broken")
    attempt_id = far.want("echo never")

    assert far.exit_of(attempt_id, seconds=40).reason is Reason.FAILED_PROVIDER_LOST
    assert bytes(far.attempts[attempt_id].log) == b""


def test_a_running_job_survives_a_portal_that_is_gone(tmp_path: Path, on_state: Callable[[Path], AgentProcess]) -> None:
    portal = FarSide()
    with serving(portal):
        join(tmp_path / "agent", portal.url, JOIN_TOKEN, Offering(), sandbox="bubblewrap")
        agent = on_state(tmp_path / "agent").start()
        attempt_id = portal.want(COUNT)
        portal.wait(lambda: portal.attempts[attempt_id].log)
    log = orders.log_path(agent.attempt_dir(attempt_id))
    portal.wait(lambda: log.stat().st_size >= len(COUNTED) // 2)
    agent.kill()
    agent.start()
    portal.wait(lambda: log.stat().st_size == len(COUNTED))

    with serving(portal, int(portal.url.rpartition(":")[2])):
        assert portal.exit_of(attempt_id).reason is Reason.SUCCEEDED
        assert bytes(portal.attempts[attempt_id].log) == COUNTED
        final_chain(portal, attempt_id)


def test_requests_that_fail_are_said_again(far: FarSide, agent: AgentProcess) -> None:
    for part in ("/order", "/log", "/outputs", "/reports", "/storage/workdir", "/storage/out", "/poll", "/inventory"):
        far.fail(lambda _, path, part=part: part in path, times=1)
        # Done, but the answer is lost: the second time is a repetition.
        far.fail(lambda _, path, part=part: part in path, times=1, lose=True)

    attempt_id = far.want(COUNT, outputs=["starts"], workdir=archive(a="b"))

    assert far.exit_of(attempt_id, seconds=40).reason is Reason.SUCCEEDED
    assert bytes(far.attempts[attempt_id].log) == COUNTED
    final_chain(far, attempt_id)
    assert far.blobs[f"out/{attempt_id}/starts"] == b"start\n"
    assert [fault.times for fault in far.faults] == [0] * 16
    assert far.complaints == []


def test_the_end_of_a_job_is_said_until_it_is_heard(far: FarSide, agent: AgentProcess) -> None:
    attempt_id = far.want("while [ ! -e go ]; do sleep 0.05; done")
    far.wait(lambda: far.attempts[attempt_id].statuses)
    far.fail(lambda _, path: "/reports" in path, times=2)
    (agent.attempt_dir(attempt_id) / "work" / "go").touch()

    assert far.exit_of(attempt_id).reason is Reason.SUCCEEDED
    final_chain(far, attempt_id)


def test_a_log_goes_on_from_where_the_portals_copy_ends(far: FarSide, agent: AgentProcess) -> None:
    attempt_id = far.want(COUNT)
    far.wait(lambda: len(far.attempts[attempt_id].log) > len(COUNTED) // 3)
    with far.changed:
        # The portal came back from an older copy of itself.
        del far.attempts[attempt_id].log[10:]

    far.exit_of(attempt_id)
    assert bytes(far.attempts[attempt_id].log) == COUNTED


def test_readings_are_kept_until_billing_has_them(far: FarSide, agent: AgentProcess) -> None:
    far.durable_max = 1
    attempt_id = far.want("sleep 1.5")
    far.exit_of(attempt_id)
    sent = final_chain(far, attempt_id)
    (stream,) = (agent.state / "spool").glob("*.jsonl")
    assert len(stream.read_bytes().splitlines()) == 1 + len(sent)
    # Everything was lost between the portal and billing: a new agent sends it again, byte for byte.
    agent.kill()
    far.readings.clear()
    agent.start()
    assert final_chain(far, attempt_id) == sent

    far.durable_max = None
    far.wait(lambda: not stream.exists())


def test_a_lost_spool_begins_a_new_stream_that_counts_from_there(far: FarSide, agent: AgentProcess) -> None:
    attempt_id = far.want("while [ ! -e go ]; do sleep 0.05; done")
    far.wait(lambda: [chain for chain in far.chains(attempt_id) if chain[-1].run_ms >= 1000])
    agent.kill()
    for path in (agent.state / "spool").iterdir():
        path.unlink()
    agent.start()
    far.wait(lambda: len(far.chains(attempt_id)) == 2)
    (agent.attempt_dir(attempt_id) / "work" / "go").touch()
    far.exit_of(attempt_id)

    chains = far.wait(lambda: (found := far.chains(attempt_id)) and any(one[-1].final for one in found) and found)
    ran_ms = sum(chain[-1].run_ms for chain in chains)
    usage = control.usage(agent.attempt_dir(attempt_id))
    assert usage is not None
    assert 1000 < ran_ms <= usage.run_ms


def test_a_minder_that_was_killed_is_a_lost_attempt_not_a_second_run(far: FarSide, agent: AgentProcess) -> None:
    attempt_id = far.want("echo on; sleep 600")
    far.wait(lambda: far.attempts[attempt_id].log)

    control.kill(agent.attempt_dir(attempt_id))

    assert far.exit_of(attempt_id).reason is Reason.FAILED_PROVIDER_LOST
    assert bytes(far.attempts[attempt_id].log) == b"on\n"


def test_an_embedded_market_takes_its_jobs_along_and_they_are_lost_not_repeated(
    far: FarSide, joined: Callable[..., AgentProcess]
) -> None:
    agent = joined().start("--end-jobs")
    attempt_id = far.want("echo on; sleep 600")
    far.wait(lambda: far.attempts[attempt_id].log)
    minder = control.find(agent.attempt_dir(attempt_id))
    assert minder is not None

    assert agent.terminate() == 0

    assert not is_running(minder.pid)
    agent.start("--end-jobs")
    assert far.exit_of(attempt_id).reason is Reason.FAILED_PROVIDER_LOST
    assert bytes(far.attempts[attempt_id].log) == b"on\n"


def test_a_clean_end_of_the_agent_leaves_its_jobs_alone(far: FarSide, agent: AgentProcess) -> None:
    attempt_id = far.want("echo on; sleep 600")
    far.wait(lambda: far.attempts[attempt_id].log)
    minder = control.find(agent.attempt_dir(attempt_id))
    assert minder is not None

    assert agent.terminate() == 0

    assert is_running(minder.pid)


def test_a_refused_credential_ends_the_agent_with_clear_words_and_no_job(far: FarSide, agent: AgentProcess) -> None:
    attempt_id = far.want("echo on; sleep 600")
    far.wait(lambda: far.attempts[attempt_id].log)
    minder = control.find(agent.attempt_dir(attempt_id))
    assert minder is not None

    far.token = "gba_another"
    with far.changed:
        far.bump()

    assert agent.exit_status() == 1
    assert re.search("does not accept this node's credential.*join again", agent.journal.read_text())
    assert is_running(minder.pid)


def test_two_agents_on_one_state_are_refused(
    far: FarSide, agent: AgentProcess, on_state: Callable[[Path], AgentProcess]
) -> None:
    far.wait(lambda: far.polls)
    second = on_state(agent.state)
    second.journal = agent.state.parent / "second.journal"

    assert second.start().exit_status() == 1
    assert "another agent already runs" in second.journal.read_text()


def test_folders_that_were_never_completed_are_cleared_away(far: FarSide, joined: Callable[..., AgentProcess]) -> None:
    agent = joined()
    folders = [agent.attempt_dir(f"att_{number}") for number in range(3)]
    for folder, garbage in zip(folders, (b"", b"{", b'{"attempt_id": "x"}'), strict=True):
        folder.mkdir()
        (folder / "attempt.json").write_bytes(garbage)

    agent.start()

    far.wait(lambda: far.polls)
    assert not any(folder.exists() for folder in folders)
