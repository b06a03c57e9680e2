"""A wrong job.yaml is refused with exit status 2 and every fault at its line and column; nothing is sent anywhere."""

import re
from pathlib import Path

import pytest
from job_yaml_cases import TABLE
from typed import typed

from gridbay.cli import run


@pytest.mark.parametrize("group", TABLE)
def test_every_fault_is_told_at_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str) -> None:
    monkeypatch.setattr(run, "open_market", _no_market)
    monkeypatch.setenv("NO_COLOR", "1")
    path, amiss = tmp_path / "job.yaml", {}
    for name, (text, expected) in TABLE[group].items():
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        ended = typed("run", path)
        told = [line for line in ended.err.splitlines() if str(path) in line]
        places = [re.sub(rf"^(refused: )?{re.escape(str(path))}[: ]", "", line) for line in told]
        right = len(places) >= len(expected) and all(p.startswith(e) for p, e in zip(places, expected, strict=False))
        whole = len(places) == len(expected) or name == "a thousand unknown fields"
        if (ended.code, ended.out) != (2, "") or not right or not whole or "Traceback" in ended.err:
            amiss[name] = f"{ended.code} {ended.out}{ended.err[:800]}"
    assert not amiss, "\n".join(f"{name}: {found}" for name, found in amiss.items())


def test_a_thousand_faults_are_not_a_thousand_lines(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(str(TABLE["bombs"]["a thousand unknown fields"][0]))
    told = typed("run", path).err.splitlines()
    assert len(told) < 100
    assert "and 970 more" in told


def test_an_excerpt_steers_no_terminal(tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text('run: x\nname: "\u009b2Jx"  # \u202e\n')
    told = typed("run", path).err
    assert "\u009b" not in told and "\x1b" not in told


def _no_market(*_: object) -> None:
    raise AssertionError("a wrong job asks no market")
