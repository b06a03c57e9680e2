"""The state folder: made for its owner alone, held by one market, its ports kept."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gridbay.standalone.state import PORTS, MarketState, StateInUse
from market.errors import InvalidInput


@pytest.fixture
def state(tmp_path: Path) -> MarketState:
    return MarketState.open(tmp_path / "deep" / "state")


def test_it_is_readable_by_its_owner_alone_also_if_it_was_not_before(state: MarketState) -> None:
    state.root.chmod(0o755)
    MarketState.open(state.root)
    assert state.root.stat().st_mode & 0o777 == 0o700
    key = state.secret_key_file()
    assert key.stat().st_mode & 0o777 == 0o600
    assert len(bytes.fromhex(key.read_text())) == 32
    assert state.secret_key_file().read_text() == key.read_text()


def test_without_a_name_it_is_in_the_users_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert MarketState.locate().root == tmp_path / "gridbay" / "market"
    assert list(tmp_path.iterdir()) == [], "asking makes nothing"


def test_a_folder_of_another_format_is_refused_with_what_to_do(state: MarketState) -> None:
    (state.root / "version").write_text("7\n")
    with pytest.raises(InvalidInput, match="has format 7") as refused:
        MarketState.open(state.root)
    assert "--state" in refused.value.remedy


def test_a_folder_that_cannot_be_made_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match=r"file/state cannot be used"):
        MarketState.open(tmp_path / "file" / "state")


def test_one_market_holds_it_and_whoever_asks_takes_nothing(state: MarketState) -> None:
    assert state.holder() is None
    with state.held():
        assert state.holder() == os.getpid()
        with pytest.raises(StateInUse, match=f"pid {os.getpid()}") as refused, state.held():
            pass
        assert f"kill {os.getpid()}" in refused.value.remedy
    assert state.holder() is None


def test_it_stays_held_as_long_as_a_process_that_inherited_the_lock_lives(state: MarketState) -> None:
    with state.held() as lock:
        heir = subprocess.Popen([sys.executable, "-c", "input()"], pass_fds=(lock,), stdin=subprocess.PIPE)
    with heir:
        assert state.holder() == os.getpid()
        with pytest.raises(StateInUse), state.held():
            pass
    assert state.holder() is None


def test_ports_are_kept_while_they_are_free(state: MarketState) -> None:
    first = state.choose_ports()
    assert set(first) == set(PORTS)
    assert len(set(first.values())) == len(PORTS)
    assert state.choose_ports() == first
    with socket.create_server(("127.0.0.1", first["api"])):
        second = state.choose_ports()
    assert {name for name in PORTS if first[name] != second[name]} == {"api"}
    assert state.choose_ports() == second, "the new one is the one it keeps"
    (state.root / "market.json").write_text("{ not json")
    assert set(state.choose_ports()) == set(PORTS), "a spoilt file costs the ports, not the start"
