"""The failing example says what it does, uses about two seconds, and ends with exit code 3."""

import subprocess
import time
from pathlib import Path

from ruamel.yaml import YAML

from market.specs import parse_job_spec

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "fails"


def test_it_fails_as_it_promises(tmp_path: Path) -> None:
    started = time.monotonic()
    run = subprocess.run(
        [ROOT / ".venv-jobs" / "bin" / "python", EXAMPLE / "fail.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 3
    assert 2.0 <= time.monotonic() - started < 10
    assert run.stdout.splitlines()[-1] == "step 4 of 4: reading part 4"
    assert run.stderr == "error: part 5 is missing: nothing to train on\n"


def test_its_job_is_tried_only_once() -> None:
    spec = parse_job_spec(YAML(typ="safe").load(EXAMPLE / "job.yaml"))
    assert spec.retry.on == []
