"""The command line in this process, with a home of its own; a session of it against the served market."""

import io
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from served_market import ServedMarket
from typed_command import Ended, Gridbay

from billing.chains.local.server import LocalChainServer
from billing.chains.local.slots import Timing
from gridbay.cli import session
from gridbay.cli.main import main


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of the person who runs the tests is read or written."""
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    for name in ("GRIDBAY_URL", "GRIDBAY_TOKEN", "GRIDBAY_EMBEDDED", "GRIDBAY_STATE_DIR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(session, "PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(session, "_told", set())
    return tmp_path / "home"


@pytest.fixture
def gridbay(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Gridbay:
    """Runs `gridbay ARGUMENTS`; stdin: what is piped in."""

    def run(*arguments: object, stdin: str = "") -> Ended:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ended(ended.value.code if isinstance(ended.value.code, int) else 0, captured.out, captured.err)

    return run


@pytest.fixture
def logged_in(market: ServedMarket, monkeypatch: pytest.MonkeyPatch) -> ServedMarket:
    """The served market, as the environment names it."""
    monkeypatch.setenv("GRIDBAY_URL", market.url)
    monkeypatch.setenv("GRIDBAY_TOKEN", "gbc_test")
    return market


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[LocalChainServer]:
    """A real local chain on which a block is final a moment after it was made."""
    server = LocalChainServer(tmp_path / "chain", timing=Timing(slot_seconds=0.01, finalized_after=1))
    thread = threading.Thread(target=server.run)
    thread.start()
    yield server
    server.stop()
    thread.join()
    server.close()
