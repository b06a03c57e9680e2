"""`gridbay allowance` on a market elsewhere: what to approve with a wallet of one's own, and what became of it."""

from pathlib import Path
from typing import Any

import pytest
from served_market import Answer, ServedMarket
from typed_command import Gridbay
from views import NOON

from billing.chains.keypairs import ensure_keypair
from gridbay.cli.token_wallet import TokenWallet
from market.customer_api import Money
from market.errors import InvalidInput
from market.funds_api import AllowanceView, PullList, PullView

MEMO = "gridbay/allowance/v1 alw_01M7ZP6K2Q5QCE0G7WJ295JPVX"
WAITING = AllowanceView(
    allowance_id="alw_01M7ZP6K2Q5QCE0G7WJ295JPVX",
    state="waiting",
    delegate="Treasury",
    mint="Mint",
    memo=MEMO,
    keep=Money.of(1_000_000),
    daily_max=Money.of(10_000_000),
    delegated=Money.of(0),
    balance=Money.of(0),
    pullable=Money.of(0),
)
ACTIVE = WAITING.model_copy(
    update={
        "state": "active",
        "token_account": "Account",
        "owner": "Owner",
        "pullable": Money.of(3_000_000),
        "read_at": NOON,
        "detail": "nothing is approved",
    }
)
PULL = PullView(
    pull_id="pull_1", state="returned", amount=Money.of(500_000), token_account="Account", created_at=NOON, detail="no"
)
ANSWERS: dict[str, Any] = {
    "GET /v1/allowance": ACTIVE,
    "PUT /v1/allowance": WAITING,
    "POST /v1/allowance/approval": ACTIVE,
    "DELETE /v1/allowance": Answer(status=204),
    "GET /v1/allowance/pulls": PullList(items=[PULL]),
}


@pytest.fixture
def answering(logged_in: ServedMarket) -> ServedMarket:
    for route, answer in ANSWERS.items():
        logged_in.on(route, answer)
    return logged_in


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("approve", "5"), ["approve 5.00 USDC with your wallet", "Treasury", MEMO, "spl-token approve"]),
        (("register", "S"), ["active", "Account", "3.00 USDC, as of", "nothing is approved"]),
        (("show",), ["Owner", "1.00 USDC", "10.00 USDC"]),
        (("pulls",), ["pull_1", "0.50", "returned"]),
        (("terms", "--keep", "2"), ["1.00 USDC"]),
        (("revoke",), ["has ended", "spl-token revoke Account"]),
    ],
)
def test_what_it_prints(
    answering: ServedMarket, gridbay: Gridbay, command: tuple[str, ...], expected: list[str]
) -> None:
    ended = gridbay("allowance", *command)
    assert (ended.code, ended.err) == (0, "")
    for words in expected:
        assert words in ended.out


def test_terms_that_are_not_said_stay_as_they_were(answering: ServedMarket, gridbay: Gridbay) -> None:
    gridbay("allowance", "terms", "--keep", "2.5")
    assert answering.seen[-1].json() == {"keep_microusd": 2_500_000, "daily_max_microusd": 10_000_000}
    gridbay("allowance", "terms", "--daily", "3")
    assert answering.seen[-1].json() == {"keep_microusd": 1_000_000, "daily_max_microusd": 3_000_000}


def test_a_refused_approval_is_said(answering: ServedMarket, gridbay: Gridbay) -> None:
    refused = WAITING.model_copy(update={"detail": "it approves for nobody here"})
    answering.on("POST /v1/allowance/approval", refused)
    ended = gridbay("allowance", "register", "S")
    assert ended.code == 2 and "it approves for nobody here" in ended.err


@pytest.mark.parametrize("typed", [("approve", "0"), ("approve", "much"), ("approve", "5", "--keep", "-1")])
def test_what_is_no_amount_never_reaches_the_market(
    answering: ServedMarket, gridbay: Gridbay, typed: tuple[str, ...]
) -> None:
    assert gridbay("allowance", *typed).code == 2
    assert not [seen for seen in answering.seen if seen.method != "GET"]


def test_a_keypair_of_somebody_else_approves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "wallet.json"
    ensure_keypair(path)
    with pytest.raises(InvalidInput, match="belongs to Owner"):
        TokenWallet("http://127.0.0.1:1", path).approve(ACTIVE, 5)
    with pytest.raises(InvalidInput):
        TokenWallet("http://127.0.0.1:1", tmp_path / "none.json")
