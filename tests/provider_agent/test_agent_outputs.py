"""Outputs by pattern: what is asked for, nothing else, and never through anything but a plain file."""

import os
from pathlib import Path

import pytest
from agent_process import AgentProcess
from far_side import FarSide

from market.states import Reason
from provider_agent.attempts import outputs
from provider_agent.attempts.outputs import collect


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    for name in ("metrics.json", "a.txt", "out/a.txt", "out/b.png", "out/deep/c.txt", "models/1/weights", ".hidden"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("metrics.json", ["metrics.json"]),
        ("./metrics.json", ["metrics.json"]),
        ("*.txt", ["a.txt"]),
        ("out/*.txt", ["out/a.txt"]),
        ("out/?.*", ["out/a.txt", "out/b.png"]),
        ("out/[ab].*", ["out/a.txt", "out/b.png"]),
        ("out/[!a].*", ["out/b.png"]),
        ("**/*.txt", ["a.txt", "out/a.txt", "out/deep/c.txt"]),
        ("out", ["out/a.txt", "out/b.png", "out/deep/c.txt"]),
        ("out/", ["out/a.txt", "out/b.png", "out/deep/c.txt"]),
        ("models/**", ["models/1/weights"]),
        ("m*", ["metrics.json", "models/1/weights"]),
        (".*", [".hidden"]),
        ("A.TXT", []),
        ("out.", []),
    ],
)
def test_a_pattern_names_files(workdir: Path, pattern: str, found: list[str]) -> None:
    collected = collect(workdir, [pattern])

    assert sorted(file.path for file in collected.files) == found
    assert collected.faults.missing == ([] if found else [f"no file matches {pattern}"])
    assert collected.faults.broken == []


def test_links_pipes_and_sockets_are_no_outputs(workdir: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of the host")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "secret").write_text("of the host")
    (workdir / "link").symlink_to(tmp_path / "secret")
    (workdir / "folder").symlink_to(tmp_path / "folder")
    (workdir / "inside").symlink_to("metrics.json")
    os.mkfifo(workdir / "pipe")

    collected = collect(workdir, ["link", "folder", "folder/secret", "inside", "pipe"])

    assert collected.files == []
    assert len(collected.faults.missing) == 5


def test_a_link_made_by_a_job_never_brings_a_host_file_out(far: FarSide, agent: AgentProcess) -> None:
    attempt_id = far.want(
        "ln -s /etc/hostname out.txt; ln -s / root; mkfifo pipe; echo mine > mine.txt",
        outputs=["*.txt", "root/etc/hostname", "pipe"],
    )

    assert far.exit_of(attempt_id).reason is Reason.SUCCEEDED
    assert set(far.attempts[attempt_id].outputs) == {"mine.txt"}


def test_outputs_are_bounded_in_number_size_and_name(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "OUTPUT_FILES_MAX", 2)
    assert [len(collect(workdir, ["**"]).files), len(collect(workdir, ["**"]).faults.broken)] == [2, 1]
    monkeypatch.setattr(outputs, "OUTPUTS_MAX_BYTES", 3)
    assert "larger than 3 bytes" in collect(workdir, ["**"]).faults.broken[0]
    monkeypatch.undo()
    (workdir / os.fsdecode(b"not-utf8-\xff")).write_text("x")
    (workdir / ("n" * 200) / ("n" * 200) / ("n" * 200)).mkdir(parents=True)
    (workdir / ("n" * 200) / ("n" * 200) / ("n" * 200) / "long").write_text("x")

    (workdir / "back\\slash").write_text("x")

    collected = collect(workdir, ["not*", "nnn*", "back*"])

    assert (len(collected.faults.broken), collected.files) == (3, [])


def test_a_tree_deeper_than_python_can_walk_is_collected_and_removed(far: FarSide, agent: AgentProcess) -> None:
    deep = "mkdir -p $(printf 'd/%.0s' $(seq 1500)); chmod 000 d/d; echo top > top"
    attempt_id = far.want(deep, outputs=["**/top"])

    assert far.exit_of(attempt_id).reason is Reason.SUCCEEDED
    far.unlist(attempt_id)
    far.wait(lambda: not agent.attempt_dir(attempt_id).exists())
    assert set(far.attempts[attempt_id].outputs) == {"top"}
