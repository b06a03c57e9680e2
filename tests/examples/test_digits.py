"""The digits example trains on the real images, live and the same way each time, and leaves what its job.yaml names."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from market.specs import parse_job_spec

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "digits"
PYTHON = ROOT / ".venv-jobs" / "bin" / "python"


def train(folder: Path, epochs: int) -> list[str]:
    """Run it with the jobs' own Python; what it printed."""
    run = subprocess.run(
        [PYTHON, EXAMPLE / "train.py"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "EPOCHS": str(epochs), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert run.stderr == ""
    return run.stdout.splitlines()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    folder = tmp_path_factory.mktemp("digits")
    return folder, train(folder, 6)


def test_it_prints_every_epoch_and_learns(trained: tuple[Path, list[str]]) -> None:
    _, lines = trained
    assert lines[0].startswith("1797 images")
    assert [line.split()[1] for line in lines if line.startswith("epoch")] == [f"{n}/6" for n in range(1, 7)]
    assert float(lines[-1].split()[-1]) > 0.95


def test_it_leaves_every_output_its_job_names(trained: tuple[Path, list[str]]) -> None:
    folder, _ = trained
    spec = parse_job_spec(YAML(typ="safe").load(EXAMPLE / "job.yaml"))
    assert {output.path for output in spec.outputs} == {path.name for path in folder.iterdir() if path.is_file()}
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["images"] == 1797
    assert sum(map(sum, metrics["confusion_matrix"])) == 450
    assert (folder / "confusion_matrix.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_its_epochs_are_the_same_each_time(trained: tuple[Path, list[str]], tmp_path: Path) -> None:
    _, lines = trained
    again = train(tmp_path, 2)
    assert [line.replace("/6", "/2") for line in lines[:3]] == again[:3]
    history = json.loads((tmp_path / "metrics.json").read_text())["history"]
    assert [epoch["epoch"] for epoch in history] == [1, 2]


def test_its_job_is_a_cpu_job() -> None:
    spec = parse_job_spec(YAML(typ="safe").load(EXAMPLE / "job.yaml"))
    assert (spec.resources.gpu, spec.resources.cpu, spec.env["EPOCHS"]) == (None, 1000, "20")
