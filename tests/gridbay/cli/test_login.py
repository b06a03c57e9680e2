"""A login is stored for its owner alone, after the market has accepted it, and never sent to another market."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from served_market import Answer, ServedMarket, problem
from typed_command import Gridbay

from gridbay.cli.account_file import load_account
from gridbay.cli.embedded import market_here
from gridbay.standalone.state import MarketState
from market.customer_api import IdentityView, Money
from market.funds_api import BalanceView


@pytest.fixture
def accepting(market: ServedMarket) -> ServedMarket:
    market.on("GET /v1/me", IdentityView(organization_id="org_1", organization_name="acme", role="owner", scopes=[]))
    market.on("GET /v1/balance", BalanceView(available=Money.of(1), held=Money.of(0)))
    market.on("GET /provider/v1/nodes", Answer(b'{"items": []}'))
    market.on("GET /ops/v1/overview", Answer(b"{}"))
    return market


def account(home: Path) -> Path:
    return home / "gridbay" / "account.json"


def test_a_token_of_each_kind_is_kept_for_its_owner_alone(
    accepting: ServedMarket, gridbay: Gridbay, home: Path
) -> None:
    ended = gridbay("login", "--url", accepting.url + "/", "--token", "gbc_one")
    assert (ended.code, ended.err) == (0, "")
    assert f"logged in at {accepting.url} as owner of acme (org_1)" in ended.out
    assert "a provider with 0 nodes" in gridbay("login", stdin="gbp_two\n").out, "piped in, at the same market"
    gridbay("login", "--token", "gbo_three")
    stored = json.loads(account(home).read_text())
    assert stored == {"url": accepting.url, "customer": "gbc_one", "provider": "gbp_two", "operator": "gbo_three"}
    assert account(home).stat().st_mode & 0o777 == 0o600
    assert gridbay("balance", "-o", "quiet").code == 0
    assert accepting.seen[-1].headers["authorization"] == "Bearer gbc_one"


def test_another_market_gets_none_of_them(accepting: ServedMarket, gridbay: Gridbay, home: Path) -> None:
    account(home).parent.mkdir(parents=True)
    account(home).write_text(json.dumps({"url": "http://127.0.0.1:9", "operator": "gbo_of_another"}))
    account(home).chmod(0o600)
    gridbay("login", "--url", accepting.url, "--token", "gbc_one")
    assert json.loads(account(home).read_text()) == {"url": accepting.url, "customer": "gbc_one"}
    ended = gridbay("admin", "overview")
    assert (ended.code, "there is no operator's token" in ended.err) == (1, True)


def test_the_environment_names_both_or_neither(
    accepting: ServedMarket, gridbay: Gridbay, monkeypatch: pytest.MonkeyPatch
) -> None:
    gridbay("login", "--url", accepting.url, "--token", "gbc_one")
    monkeypatch.setenv("GRIDBAY_URL", "http://127.0.0.1:9")
    seen = len(accepting.seen)
    assert gridbay("balance").code == 2
    assert len(accepting.seen) == seen


def test_what_the_market_refuses_is_not_stored(market: ServedMarket, gridbay: Gridbay, home: Path) -> None:
    market.on("GET /v1/me", problem(401, "unauthenticated", "this token is unknown here"))
    assert gridbay("login", "--url", market.url, "--token", "gbc_bad").code == 1
    assert gridbay("login", "--url", market.url, "--token", "hunter2").code == 2
    assert not account(home).exists()


@pytest.mark.parametrize(("content", "mode"), [('{"url": "x"}', 0o644), ("{", 0o600), ('{"nope": 1}', 0o600)])
def test_a_login_that_is_none_or_open_to_others_is_refused(
    gridbay: Gridbay, home: Path, content: str, mode: int
) -> None:
    account(home).parent.mkdir(parents=True)
    account(home).write_text(content)
    account(home).chmod(mode)
    ended = gridbay("balance")
    assert ended.code == 2
    assert str(account(home)) in ended.err


@contextmanager
def running_here(url: str, root: Path | None = None) -> Iterator[MarketState]:
    """A state folder that says that a market of this URL runs on it."""
    state = MarketState.open(root)
    facts = {"public_url": url, "rpc_url": "http://127.0.0.1:1"}
    tokens = {"customer_token": "gbc_local", "provider_token": "gbp_local", "operator_token": "gbo_local"}
    (state.root / "credentials.json").write_text(json.dumps(tokens))
    with state.held():
        state.write_running({"pid": os.getpid(), "facts": facts})
        yield state


def test_without_a_login_the_market_on_this_machine_is_used(accepting: ServedMarket, gridbay: Gridbay) -> None:
    with running_here(accepting.url) as state:
        ended = gridbay("balance", "-o", "quiet")
        assert (ended.code, ended.out) == (0, "0.000001\n")
        assert ended.err == f"on this machine's own market, {accepting.url} (no login is stored)\n"
        assert accepting.seen[-1].headers["authorization"] == "Bearer gbc_local"
        gridbay("login", "--state", state.root)
        assert gridbay("balance").err == ""


def test_a_login_to_a_state_folder_finds_the_wallet_in_it(
    accepting: ServedMarket, gridbay: Gridbay, tmp_path: Path
) -> None:
    with running_here(accepting.url, tmp_path / "elsewhere") as state:
        gridbay("login", "--state", state.root)
        logged_in = load_account()
        assert logged_in is not None
        found = market_here(logged_in)
        assert found is not None and found.state_dir == state.root
        assert market_here(replace(logged_in, url="http://127.0.0.1:2")) is None
    assert market_here(logged_in) is None, "it runs no more"


def test_without_either_it_says_both_ways(gridbay: Gridbay) -> None:
    ended = gridbay("balance")
    assert ended.code == 1
    assert "gridbay login --url URL, or gridbay up" in ended.err
