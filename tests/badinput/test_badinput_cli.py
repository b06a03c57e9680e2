"""Whatever is typed, found on disk or answered at the URL: words, a remedy and an exit status, never a traceback."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_cases import FILES, FLAGS, MARKETS, Typed
from served_market import Answer, Seen, ServedMarket
from typed import typed

from gridbay.cli import session
from gridbay.client import sdk


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of the person who runs the tests is read or written; what is typed is typed in an empty folder."""
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    for name, value in {
        "GRIDBAY_URL": "http://127.0.0.1:9",
        "GRIDBAY_TOKEN": "gbc_x",
        "NO_COLOR": "1",
        "COLUMNS": "300",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(session, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(session, "WATCHING_PATIENCE_SECONDS", 0.0)
    return tmp_path / "home"


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedMarket]:
    served = ServedMarket()
    # A client that has seen enough hangs up: that is no news.
    monkeypatch.setattr(served._http, "handle_error", lambda *_: None)
    yield served
    served.close()


@pytest.mark.parametrize("table", [FLAGS, FILES], ids=["flags", "files"])
def test_what_is_typed_is_refused_in_words(tmp_path: Path, table: dict[str, Typed]) -> None:
    amiss = {}
    for number, (name, case) in enumerate(table.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        case.before(folder)
        with pytest.MonkeyPatch.context() as here:
            here.chdir(folder)
            for variable in ("XDG_CONFIG_HOME", "HOME"):
                here.setenv(variable, str(folder / "home"))
            for variable, value in case.env.items():
                here.setenv(variable, value)
            ended = typed(*shlex.split(case.arguments), stdin=case.stdin)
        words = " ".join(ended.err.split())
        if ended.code != case.status or ended.out or "Traceback" in words or not all(w in words for w in case.says):
            amiss[name] = f"{ended.code} {ended.out}{ended.err[:600]}"
    assert not amiss, "\n".join(f"{name}: {found}" for name, found in amiss.items())


def test_what_is_no_market_is_told(answering: ServedMarket, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    amiss = {}
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRIDBAY_URL", answering.url)
    for name, (arguments, answer, status, says) in MARKETS.items():
        monkeypatch.setattr(answering, "answer", _always(answer))
        ended = typed(*shlex.split(arguments))
        if ended.code != status or ended.out or "Traceback" in ended.err or not all(w in ended.err for w in says):
            amiss[name] = f"{ended.code} {ended.out}{ended.err[:600]}"
    assert not amiss, "\n".join(f"{name}: {found}" for name, found in amiss.items())
    assert list(tmp_path.rglob("*")) == []


def test_a_fault_of_its_own_is_one_line_and_a_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise KeyError("nobody foresaw this")

    monkeypatch.setattr(sdk.Gridbay, "balance", broken)
    ended = typed("balance")
    assert (ended.code, ended.out) == (1, "")
    said, mend = ended.err.splitlines()
    assert said.startswith("gridbay: something that was not foreseen went wrong here (KeyError: 'nobody foresaw this')")
    [written] = home.rglob("fault-req_*.txt")
    assert str(written) in said and written.stem.removeprefix("fault-") in mend
    text = written.read_text()
    assert "Traceback" in text and "gbc_x" not in text
    assert written.stat().st_mode & 0o777 == 0o600


def test_whoever_stops_reading_is_left_in_peace(home: Path) -> None:
    command = f"{shlex.quote(sys.executable)} -m gridbay.cli.main"
    # Buffered, as for most people, and not.
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    for environment in (buffered, {**buffered, "PYTHONUNBUFFERED": "1"}):

        def told(line: str, environment: dict[str, str] = environment) -> tuple[int, str]:
            bash = ["bash", "-c", line]
            ended = subprocess.run(bash, env=environment, capture_output=True, text=True, timeout=60, check=False)
            return ended.returncode, ended.stderr

        assert told(f"{command} --help | true") == told(f"{command} version | true") == (0, "")
        assert told(f"{command} version > /dev/full") == (1, "gridbay: No space left on device\n")
        assert told(f"{command} version >&-")[1] == ""


def _always(answer: Answer) -> object:
    def handler(_: Seen) -> Answer:
        return answer

    return handler
