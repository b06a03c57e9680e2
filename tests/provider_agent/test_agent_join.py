"""Joining a market, what is kept of it, and the checklist that comes before."""

import json
import shutil
from pathlib import Path

import pytest
from far_side import JOIN_TOKEN, NODE_ID, TOKEN, FarSide

from market.errors import Conflict, InvalidInput, NotFound, Unauthenticated, Unavailable
from provider_agent.checklist import Check, Checklist, Level, Subject
from provider_agent.config import StateFolder
from provider_agent.daemon import Options, run
from provider_agent.join import Offering, join


def test_a_node_joins_with_a_proof_of_its_key_and_keeps_the_answer_to_itself(far: FarSide, tmp_path: Path) -> None:
    state = tmp_path / "agent"
    answer = join(
        state, far.url + "/", JOIN_TOKEN, Offering(simulate="H100:2", price_microusd_per_gpu_hour=5), sandbox="plain"
    )

    assert (answer.node_id, answer.token) == (NODE_ID, TOKEN)
    (request,) = far.joined  # the far side verified the possession of the key
    assert request.inventory.simulated
    assert [gpu.uuid for gpu in request.inventory.gpus] == [
        f"SIM-{request.public_key[:16]}-{index}" for index in (0, 1)
    ]
    assert (request.inventory.sandbox, request.price_microusd_per_gpu_hour) == ("plain", 5)
    folder = StateFolder(state)
    assert (folder.credential(), folder.identity().portal_url) == (TOKEN, far.url)
    modes = {path.name: path.stat().st_mode & 0o777 for path in state.iterdir() if path.is_file()}
    assert set(modes.values()) == {0o600}, modes
    assert TOKEN not in (state / "node.json").read_text()


def test_joining_again_keeps_the_key_and_only_another_market_drops_the_readings(far: FarSide, tmp_path: Path) -> None:
    for _ in range(2):
        join(tmp_path, far.url, JOIN_TOKEN, Offering(), sandbox="plain")
        (tmp_path / "spool" / "reading.jsonl").touch()
    assert far.joined[0].public_key == far.joined[1].public_key
    assert list((tmp_path / "spool").iterdir())

    identity = StateFolder(tmp_path).identity()
    (tmp_path / "node.json").write_text(
        identity.model_copy(update={"node_id": "node_of_another_market"}).model_dump_json()
    )
    join(tmp_path, far.url, JOIN_TOKEN, Offering(), sandbox="plain")
    assert not list((tmp_path / "spool").iterdir())


@pytest.mark.parametrize(
    ("url", "token", "refusal", "words"),
    [
        (None, "gbj_wrong", Unauthenticated, "not known"),
        ("http://127.0.0.1:1", JOIN_TOKEN, Unavailable, "cannot be reached"),
        ("ftp://portal", JOIN_TOKEN, InvalidInput, "not the address"),
        ("portal.example", JOIN_TOKEN, InvalidInput, "not the address"),
    ],
)
def test_a_join_that_fails_says_why_and_leaves_no_identity(
    far: FarSide, tmp_path: Path, url: str | None, token: str, refusal: type[Exception], words: str
) -> None:
    with pytest.raises(refusal, match=words):
        join(tmp_path, url or far.url, token, Offering(), sandbox="plain")
    with pytest.raises(NotFound, match="belongs to no market"):
        run(tmp_path, Options())


def test_a_running_agent_keeps_its_folder_from_a_join(far: FarSide, tmp_path: Path) -> None:
    with StateFolder(tmp_path).held(), pytest.raises(Conflict):
        join(tmp_path, far.url, JOIN_TOKEN, Offering(), sandbox="plain")


def test_a_damaged_key_is_named_and_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "node.key").write_text("nonsense")
    with pytest.raises(InvalidInput, match=r"node\.key"):
        StateFolder(tmp_path).node_key()
    assert (tmp_path / "node.key").read_text() == "nonsense"


def checks(subject: Subject) -> dict[str, Check]:
    return {check.name: check for check in Checklist(subject).run()}


def test_every_line_of_the_checklist_says_what_why_and_how_to_mend(far: FarSide, tmp_path: Path) -> None:
    lines = checks(Subject(tmp_path, far.url, job_runtime=tmp_path / "none"))

    assert [lines[name].level for name in ("python", "portal", "clock", "encryption")] == [Level.PASS] * 4
    assert lines["job runtime"].level is Level.FAIL
    for check in lines.values():
        assert all((check.name, check.actual, check.required, check.why)), check
        assert (check.level is Level.PASS) == (check.mend == ""), check


def test_a_portal_that_is_not_there_and_a_simulation_are_told(tmp_path: Path) -> None:
    lines = checks(Subject(tmp_path, "http://127.0.0.1:1", simulate="H100:2"))
    assert lines["portal"].level is Level.FAIL
    assert "clock" not in lines
    assert (lines["gpus"].level, "2 simulated" in lines["gpus"].actual) == (Level.WARN, True)
    assert checks(Subject(tmp_path, simulate="X9"))["gpus"].level is Level.FAIL


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
def test_the_sandbox_is_proven_by_running_in_it(tmp_path: Path) -> None:
    checklist = Checklist(Subject(tmp_path))
    sandbox = next(check for check in checklist.run() if check.name == "sandbox")
    assert (sandbox.level, checklist.sandbox_kind) == (Level.PASS, "bubblewrap")


def test_a_clock_that_is_off_is_told(far: FarSide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("far_side._Handler.date_time_string", lambda *_: "Thu, 01 Jan 2015 00:00:00 GMT")
    assert checks(Subject(tmp_path, far.url))["clock"].level is Level.FAIL


def test_the_identity_is_plain_json_that_people_can_read(far: FarSide, tmp_path: Path) -> None:
    join(tmp_path, far.url, JOIN_TOKEN, Offering(name="gpu-1", cpu_milli=500), sandbox="plain")
    document = json.loads((tmp_path / "node.json").read_text())
    assert (document["name"], document["node_id"], document["cpu_milli"]) == ("gpu-1", NODE_ID, 500)
