"""A wrong job.yaml is shown where it is wrong: file, line, column, the line itself, and how to mend it."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from served_market import ServedMarket, problem
from typed_command import Gridbay

from gridbay.cli.job_file import read_job_file
from market.errors import InvalidInput
from market.specs import InvalidSpec


def told(tmp_path: Path, text: str) -> list[str]:
    """Each fault as line:column: what."""
    path = tmp_path / "job.yaml"
    path.write_text(text)
    with pytest.raises(InvalidSpec) as refused:
        read_job_file(path).parse()
    lines = refused.value.detail.splitlines()
    return [line.removeprefix(f"{path}:") for line in lines if line.startswith(f"{path}:")]


def test_every_fault_has_its_place(tmp_path: Path) -> None:
    text = """\
# a comment
name: Digits
runn: python train.py
env:
  A: 1
  2B: x
resources:
  gpuu: H100
  cpu: lots
  nodes: 2
outputs:
  - metrics.json
  - path: /etc/passwd
retry:
  on: [provider_lost, everything]
budget: {max_price: -3}
image: ubuntu
"""
    assert told(tmp_path, text) == [
        "2:1: `run` is missing",
        "2:7: write a name in small letters, digits, `.`, `_` and `-`, 63 at most",
        "3:1: `runn` is unknown; did you mean `run`?",
        "6:3: `2B` is not the name of a variable: use letters, digits and `_`, no digit first, 128 at most",
        "8:3: `gpuu` is unknown; did you mean `gpu`?",
        "9:8: 'lots' is not a number of CPUs: write it like 2, 0.5 or 500m",
        "10:3: `nodes` is not available yet; remove it",
        "13:11: '/etc/passwd' leaves the working directory; name a path inside it",
        "15:23: `everything` is not possible here; choose one of: provider_lost, failure",
        "16:21: -3 is not an amount of USDC: write it like 0.42, with at most six decimals",
        "17:1: `image` is not available yet; remove it",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("run: a\nrun: b\n", '2:1: found duplicate key "run"'),
        ("run:\n\techo\n", "2:1: found character '\\t' that cannot start any token: indent with spaces, not tabs"),
        ("run: 'x\n", "2:1: found unexpected end of stream (while scanning a quoted scalar that began in line 1)"),
        ("run: *missing\n", "1:6: found undefined alias 'missing'"),
        ("- run: a\n", "1:1: a job is a mapping of fields such as `run: python train.py`"),
        ("", "1:1: a job is a mapping of fields such as `run: python train.py`"),
        ("run: a\nkind: service\n", "2:7: `kind: service` is not available yet; use `kind: job`"),
        ("x: &x {gpuu: 1}\nrun: a\nresources:\n  <<: *x\n", "4:3: `gpuu` is unknown; did you mean `gpu`?"),
        ('run: a\nenv: {"A/B": c}\n', "2:7: `A/B` is not the name of a variable"),
    ],
)
def test_what_is_no_yaml_or_no_job_has_its_place_too(tmp_path: Path, text: str, expected: str) -> None:
    assert any(line.startswith(expected) for line in told(tmp_path, text)), told(tmp_path, text)


def test_the_line_is_shown_with_a_caret_below(tmp_path: Path, gridbay: Gridbay) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("run: python train.py\nresources:\n  gpuu: H100\n")
    ended = gridbay("run", path)
    assert ended.code == 2
    assert ended.err.splitlines() == [
        f"{path}:3:3: `gpuu` is unknown; did you mean `gpu`?",
        "    3 |   gpuu: H100",
        "      |   ^^^^",
        "  code: invalid_spec",
    ]


def test_what_only_the_market_finds_wrong_is_shown_in_the_file_too(
    tmp_path: Path, gridbay: Gridbay, logged_in: ServedMarket
) -> None:
    path = tmp_path / "job.yaml"
    path.write_text("run: train\nsecrets: [HF_TOKEN]\n")
    fault = {"pointer": "/spec/secrets/0", "detail": "there is no secret HF_TOKEN"}
    logged_in.on("POST /v1/jobs/plan", problem(422, "invalid_spec", "/spec/secrets/0: ...", errors=[fault]))
    ended = gridbay("run", path, "-y")
    assert (ended.code, ended.err.splitlines()[0]) == (2, f"{path}:2:11: there is no secret HF_TOKEN")


@pytest.mark.parametrize("content", [b"run: \xff\n", b"x" * (1024 * 1024 + 1), b"run: \x00\n"])
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "job.yaml").write_bytes(content)
    with pytest.raises(InvalidInput):
        read_job_file(tmp_path / "job.yaml")


def test_a_missing_file_is_a_mistake_of_usage(tmp_path: Path, gridbay: Gridbay) -> None:
    ended = gridbay("run", tmp_path / "nope.yaml")
    assert (ended.code, ended.out) == (2, "")
    assert "nope.yaml cannot be read: No such file or directory" in ended.err


yaml_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text("ab:#- \n'\"{}[]&*!|>%@`\t", max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab:-", max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None, max_examples=60)
@given(text=st.text("abrun:-#' \n\"{}[]&*!|>\t", max_size=60) | yaml_values.map(str))
def test_no_text_whatever_makes_it_stumble(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("jobs") / "job.yaml"
    path.write_text(text)
    try:
        read_job_file(path).parse()
    except InvalidInput as error:
        assert str(path) in error.detail
