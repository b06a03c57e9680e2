"""FAULTS.md rows 7 and 9: whatever of a provider dies, the job runs on and is adopted; what cannot leaves nothing.

Ray's own processes are killed in pool/test_pool.py, and under a whole market in tests/gridbay/test_main_line.py.
"""

import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from agent_process import AgentProcess, is_running
from far_side import FarSide
from soak_size import KILLS_A_POINT, size

import provider_agent
from market.states import Reason
from provider_agent.minder import control

KILLS = size(3, KILLS_A_POINT)
UNTIL_GO = "echo start >> starts; while [ ! -e go ]; do sleep 0.05; done; cat starts"
BOOT_ID = "/proc/sys/kernel/random/boot_id"

pytestmark = pytest.mark.timeout(120 if KILLS < 10 else 7200)


def go(agent: AgentProcess, attempt_id: str) -> None:
    (agent.attempt_dir(attempt_id) / "work" / "go").touch()


def minder_of(agent: AgentProcess, attempt_id: str) -> int:
    found = control.find(agent.attempt_dir(attempt_id))
    assert found is not None
    return found.pid


def ended_well_in_one_run(far: FarSide, attempt_id: str) -> None:
    assert far.exit_of(attempt_id).reason is Reason.SUCCEEDED
    far.wait(lambda: [chain for chain in far.chains(attempt_id) if chain[-1].final])
    assert bytes(far.attempts[attempt_id].log) == b"start\n", "it was never started again"
    assert len(far.chains(attempt_id)) == 1, "nor were its readings begun anew"
    assert far.complaints == []


def marked(mark: str) -> list[int]:
    """The processes that have this in their command line: a job's, wherever they went."""
    found = psutil.process_iter(["cmdline", "status"])
    return [one.pid for one in found if mark in " ".join(one.info["cmdline"] or ()) and one.info["status"] != "zombie"]


def another_agent(folder: Path, **changed: tuple[str, str]) -> dict[str, str]:
    """The environment of an agent of another make: in these modules the first text is the second."""
    copy = folder / f"agent-{secrets.token_hex(4)}"
    shutil.copytree(Path(provider_agent.__file__).parent, copy / "provider_agent")
    for module, (old, new) in changed.items():
        path = copy / "provider_agent" / f"{module.replace('__', '/')}.py"
        source = path.read_text()
        assert source.count(old) == 1
        path.write_text(source.replace(old, new))
    return {"PYTHONPATH": os.pathsep.join([str(copy), *filter(None, [os.environ.get("PYTHONPATH")])])}


@pytest.mark.parametrize("point", ["agent.spooled", "agent.report.sent"])
def test_an_agent_that_dies_at_a_point_again_and_again_neither_ends_nor_repeats_the_job(
    far: FarSide, joined: Callable[..., AgentProcess], point: str
) -> None:
    agent = joined()
    attempt_id = far.want(UNTIL_GO, held_seconds=7200)
    for _ in range(KILLS):
        agent.start(GRIDBAY_FAILPOINTS=f"{point}=kill")
        assert agent.exit_status(size(20, 200)) == -9
    minder = minder_of(agent, attempt_id)
    agent.start()
    far.wait(lambda: far.attempts[attempt_id].log is not None and len(far.polls) > 0)
    go(agent, attempt_id)
    ended_well_in_one_run(far, attempt_id)
    assert not is_running(minder)


def test_an_agent_of_another_version_adopts_the_running_job(far: FarSide, agent: AgentProcess, tmp_path: Path) -> None:
    attempt_id = far.want(UNTIL_GO)
    far.wait(lambda: far.attempts[attempt_id].statuses)
    minder = minder_of(agent, attempt_id)
    for number in range(KILLS):
        assert agent.terminate() == 0
        version = f"9.9.{number}"
        agent.start(**another_agent(tmp_path, config=('AGENT_VERSION = "0.1.0"', f'AGENT_VERSION = "{version}"')))
        far.wait(lambda version=version: far.inventories and far.inventories[-1].agent_version == version)
    assert minder_of(agent, attempt_id) == minder, "the same minder all along"
    go(agent, attempt_id)
    ended_well_in_one_run(far, attempt_id)


def test_of_a_killed_minder_nothing_is_left_and_the_attempt_is_lost(far: FarSide, agent: AgentProcess) -> None:
    for _ in range(KILLS):
        mark = f"86{secrets.randbelow(10**9):09}"
        # In the background, in sessions of their own, and one that will not hear a signal.
        attempt_id = far.want(f"setsid sleep {mark} & (trap '' TERM HUP INT; setsid sleep {mark}) & sleep {mark}")
        far.wait(lambda mark=mark: len(marked(f"sleep {mark}")) >= 3)
        os.kill(minder_of(agent, attempt_id), 9)
        assert far.exit_of(attempt_id).reason is Reason.FAILED_PROVIDER_LOST
        far.wait(lambda mark=mark: marked(f"sleep {mark}") == [], seconds=5)


def test_a_rebooted_node_has_no_orphans_loses_its_attempts_and_runs_the_next(
    far: FarSide, agent: AgentProcess, tmp_path: Path
) -> None:
    lost = []
    for _ in range(KILLS):
        mark = f"87{secrets.randbelow(10**9):09}"
        attempt_id = far.want(f"echo on; sleep {mark}")
        far.wait(lambda attempt_id=attempt_id: far.attempts[attempt_id].log)
        lost.append(attempt_id)
        # A reboot: everything dies at once, and the kernel says another number.
        agent.kill()
        control.kill(agent.attempt_dir(attempt_id))
        number = tmp_path / f"boot-{secrets.token_hex(4)}"
        number.write_text(f"{secrets.token_hex(16)}\n")
        agent.start(**another_agent(tmp_path, minder__layout=(BOOT_ID, str(number))))
        assert far.exit_of(attempt_id).reason is Reason.FAILED_PROVIDER_LOST
        assert marked(f"sleep {mark}") == []
        assert bytes(far.attempts[attempt_id].log) == b"on\n", "it was not started again"
    following = far.want("echo again")
    assert far.exit_of(following).reason is Reason.SUCCEEDED
    assert {far.polls[0].boot_id} != {far.polls[-1].boot_id}
    assert len(far.attempts) == KILLS + 1
