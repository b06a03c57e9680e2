"""An allowance is proven by its owner alone, pulled from before money is needed, exactly once, and lends nothing."""

import base64
from dataclasses import replace
from datetime import timedelta

import pytest
from allowance_till import CONFIG, USDC, Till
from books import ORGANIZATION, PROVIDER, Books, Stream
from dying import Dying, Killed
from hypothesis import given
from hypothesis import strategies as st
from local_net import LocalNet
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.system_program import CreateAccountParams, create_account
from solders.token import ID as TOKEN_PROGRAM
from sqlalchemy import text
from sqlalchemy.orm import Session
from test_settlement import Changed, run, settle, settle_all

from billing.chains.answers import AccountAnswer
from billing.chains.port import ChainInstruction, ChainTransaction, ChainUnavailable, Holding
from billing.chains.transactions import (
    APPROVE_CHECKED,
    associated_token_address,
    create_token_account,
    memo_anchor,
    sign,
)
from billing.charging import funding
from billing.ledger import audit, balances
from billing.settling import allowances, epochs, pulls, receipts, wallets
from billing.settling.approvals import approval_in, memo_of
from billing.settling.pulls import Need, amount_due
from billing.treasury import reconciliation
from infra.database import Database
from market.clock import ManualClock
from market.errors import Conflict, InvalidInput, NotFound
from market.money import MICROUSD_MAX
from market.receipts import verify_receipt


@pytest.fixture
def till(database: Database, clock: ManualClock, net: LocalNet) -> Till:
    return Till(database, clock, net)


def start_job(till: Till, **changed: object) -> tuple[str, Stream, object]:
    with till.database.transaction() as session:
        books = Books(session, till.clock)
        terms, placed, stream = books.run(**changed)  # type: ignore[arg-type]
    return terms.job_id, stream, placed


def fund(till: Till) -> None:
    with till.database.transaction() as session:
        Books(session, till.clock).fund()


def test_a_job_runs_from_the_customers_own_account_to_a_verified_receipt(till: Till) -> None:
    with pytest.raises(NotFound):
        till.found()
    till.open(keep=USDC)
    till.check()
    till.pull()
    assert (till.available(), till.held, till.found().pullable_microusd) == (USDC, 9 * USDC, 5 * USDC)
    job_id, stream, placed = start_job(till)
    assert till.available() == 100_000, "0.90 are held for the first window"
    till.clock.advance(timedelta(seconds=180))
    till.pull()
    assert till.pulled()[0] == ("confirmed", 1_800_000), "what is kept, and the next window"
    fund(till)
    with till.database.transaction() as session:
        books = Books(session, till.clock)
        assert books.told("JobFunded"), "the second window is paid before it begins"
        books.report(stream.read(170_000, final=True))
        books.end(placed)  # type: ignore[arg-type]
        funding.end_job(session, job_id, 1, books.now)
        wallets.set_wallet(session, PROVIDER, str(till.net.wallet(1).pubkey()), books.now)
        epochs.close(session, books.now, books.config)
    settle_all(till.database, till.clock, till.net)
    with till.database.read() as session:
        assert verify_receipt(receipts.receipt(session, job_id, till.net.treasury)).ok
    assert till.available() == 2_800_000 - 170_000
    assert till.held == 10 * USDC - 2_800_000
    till.check()


def test_custody_reconciles_while_a_pull_is_in_the_air(till: Till) -> None:
    till.open()
    till.look()
    settle(till.database, till.clock, till.net)
    till.check()
    till.net.finalize()
    found = reconciliation.reconcile(till.database, till.net.chain, till.custody)
    assert (found.mismatches, found.books.flights[0].amount_microusd) == ((), -USDC)
    settle(till.database, till.clock, till.net)
    till.check()
    assert till.available() == USDC


def test_no_more_is_pulled_than_what_is_short_and_every_cap_binds(till: Till) -> None:
    till.open(keep=USDC, daily=1_500_000)
    for _ in range(3):
        till.pull()
    assert till.pulled() == [("confirmed", USDC)], "nothing is short any more"
    till.ask(keep=4 * USDC, daily=1_500_000)
    till.pull()
    assert till.pulled()[0] == ("confirmed", 500_000), "the customer's cap of a day"
    till.clock.advance(timedelta(days=1))
    till.ask(keep=20 * USDC)
    till.pull()
    assert till.pulled()[0] == ("confirmed", 3_500_000), "all that is left of what was approved"
    till.pull()
    assert "nothing is approved" in till.found().detail
    assert till.available() == 5 * USDC
    till.approve(None, 2 * USDC)
    till.pull()
    assert till.available() == 7 * USDC, "an account that is registered needs no memo to be approved anew"
    till.check()


def test_revoked_between_windows_stops_the_job_with_notice_and_nobody_is_owed(till: Till) -> None:
    till.open(keep=900_000)
    till.pull()
    start_job(till)
    till.revoke()
    till.clock.advance(timedelta(seconds=180))
    till.pull()
    assert "nothing is approved" in till.found().detail
    assert till.pulled() == [("confirmed", 900_000)], "no pull was even tried"
    fund(till)
    till.clock.advance(timedelta(seconds=900 - 180 - 70))
    till.look()
    fund(till)
    with till.database.read() as session:
        told = Books(session, till.clock).told("FundingRefused")
        assert [each["reason"] for each in told] == ["stopped:balance_exhausted"]
        assert balances.of_organization(session, ORGANIZATION).held_microusd == 900_000, "all that may be charged"
    till.check()


@pytest.mark.parametrize("fate", ["revoked", "emptied"])
@pytest.mark.parametrize("signed", [False, True], ids=["before it is signed", "after it is signed"])
def test_a_pull_that_the_chain_refuses_takes_nothing_and_is_given_up(till: Till, fate: str, *, signed: bool) -> None:
    till.open()
    till.look()
    meddle = till.revoke if fate == "revoked" else till.empty
    # The bytes are stored and, but for that, would land.
    kept: list[bytes] = []
    if signed:
        chain = Changed(till.net.chain, send=kept.append)
        run(till.database, till.clock, till.net, chain)
        assert len(kept) == 1
    meddle()
    left = till.held
    settle_all(till.database, till.clock, till.net)
    settle_all(till.database, till.clock, till.net)
    assert till.pulled() == [("returned", USDC)]
    assert (till.available(), till.held) == (0, left)
    assert "revoked, emptied or frozen" in till.found().detail
    till.look()
    settle(till.database, till.clock, till.net)
    assert len(till.pulled()) == 1, "it is not tried again at once"
    till.check()


def test_killed_at_any_step_it_pulls_once_and_credits_once(till: Till) -> None:
    till.open(keep=100_000, amount=10 * USDC)
    at = 0
    for at in range(60):
        till.ask(keep=100_000 * (at + 1))
        till.look()
        dying = Dying(at)
        try:
            settle(till.database, till.clock, till.net, dying)
            till.net.finalize()
            settle(till.database, till.clock, till.net, dying)
        except Killed:
            settle_all(till.database, till.clock, till.net)
        else:
            break
        settle(till.database, till.clock, till.net)
        settle_all(till.database, till.clock, till.net)
        assert till.available() == 10 * USDC - till.held == 100_000 * (at + 1), f"killed at step {at}"
    assert 6 <= at < 59, "every step was tried"
    till.check()


def test_ended_it_pulls_nothing_more_and_the_account_is_free_again(till: Till) -> None:
    till.open()
    till.look()
    without_key = Changed(till.net.chain, simulate=lambda wire: (_ for _ in ()).throw(AssertionError("it was signed")))
    with till.database.transaction() as session:
        pulls.open_due(session, till.custody, till.clock.now(), CONFIG)
        allowances.end(session, ORGANIZATION, till.clock.now())
        allowances.end(session, ORGANIZATION, till.clock.now())
    run(till.database, till.clock, till.net, without_key)
    assert till.pulled() == [("returned", USDC)]
    with pytest.raises(NotFound):
        till.found()
    other = till.ask(owner="org_B")
    till.offer(till.approve(other.memo), "org_B")
    assert till.found("org_B").token_account == till.account
    till.check()


def refused(till: Till, signature: str) -> str:
    till.offer(signature)
    found = till.found()
    assert (found.state, found.token_account) == ("waiting", None)
    return found.detail


def test_an_account_is_proven_by_its_owners_approval_for_this_allowance_alone(till: Till) -> None:
    memo, other = till.ask().memo, till.ask(owner="org_B").memo
    assert "no memo" in refused(till, till.approve(other)), "what another organization was asked for"
    assert "no memo" in refused(till, till.approve(None))
    assert "0 approvals" in refused(till, till.approve(memo, delegate=str(Keypair().pubkey())))
    blockhash = till.net.chain.latest_blockhash().value
    spoken = memo_anchor(payer=till.owner, memo=memo, blockhash=blockhash)
    till.net.chain.send(spoken.wire)
    till.net.finalize()
    assert "0 approvals" in refused(till, spoken.signature)
    assert "failed" in refused(till, till.approve(memo, token_account=till.custody.token_account)), "another's account"
    assert "own treasury" in refused(till, till.approve(memo, by=till.net.treasury_key))
    till.offer(till.approve(memo))
    assert till.found().state == "active"
    till.offer(till.approve(other), "org_B")
    assert "registered by another" in till.found("org_B").detail
    with pytest.raises(Conflict):
        till.offer(till.approve(memo, 3))
    with pytest.raises(InvalidInput):
        till.offer("no signature")


def foreign_mint(till: Till) -> str:
    """Another token on the same chain, and the customer's account of it."""
    mint, payer, chain = Keypair(), till.owner, till.net.chain
    room = CreateAccountParams(
        from_pubkey=payer.pubkey(), to_pubkey=mint.pubkey(), lamports=10_000_000, space=82, owner=TOKEN_PROGRAM
    )
    data = bytes([20, 6]) + bytes(payer.pubkey()) + b"\0"
    initialize = Instruction(TOKEN_PROGRAM, data, [AccountMeta(mint.pubkey(), is_signer=False, is_writable=True)])
    blockhash = chain.latest_blockhash().value
    chain.send(sign([create_account(room), initialize], payer=payer, blockhash=blockhash, others=[mint]).wire)
    till.net.finalize()
    blockhash = chain.latest_blockhash().value
    owner = str(payer.pubkey())
    chain.send(create_token_account(payer=payer, owner=owner, mint=str(mint.pubkey()), blockhash=blockhash).wire)
    till.net.finalize()
    return str(mint.pubkey())


def test_money_of_another_kind_never_meets_this(till: Till) -> None:
    """Test money, or any other token, is another mint: its account proves nothing and is never pulled from."""
    mint = foreign_mint(till)
    memo, theirs = till.ask().memo, associated_token_address(str(till.owner.pubkey()), mint)
    assert f"holds {mint}" in refused(till, till.approve(memo, mint=mint, token_account=theirs))
    till.offer(till.approve(memo))
    till.look()
    with till.database.transaction() as session:
        for strange in (replace(till.custody, mint=mint), replace(till.custody, treasury=Keypair())):
            assert pulls.open_due(session, strange, till.clock.now(), CONFIG) == 0
        assert pulls.open_due(session, till.custody, till.clock.now(), CONFIG) == 1


def test_a_transaction_that_is_not_final_waits_and_one_that_never_was_lapses(till: Till) -> None:
    till.ask()
    till.offer(str(till.owner.sign_message(b"nothing")))
    assert (till.found().state, till.found().detail) == ("waiting", "")
    for _ in range(4):
        till.look(400)
    assert "no such transaction" in till.found().detail


class Poisoned:
    """A chain that cannot tell of one transaction, and of nothing else."""

    def __init__(self, net: LocalNet, signature: str) -> None:
        self._chain, self._signature = net.chain, signature

    def __getattr__(self, name: str) -> object:
        return getattr(self._chain, name)

    def read_transaction(self, signature: str) -> object:
        if signature == self._signature:
            raise ChainUnavailable("it is of a form that nobody knows")
        return self._chain.read_transaction(signature)


def test_an_offer_that_the_chain_cannot_tell_of_keeps_nobody_waiting_and_lapses(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    till.open()
    till.pull()
    poison = till.approve(till.ask(owner="org_B").memo, by=till.net.wallet(USDC))
    monkeypatch.setattr(till.net, "chain", Poisoned(till.net, poison))
    till.offer(poison, owner="org_B")
    before = till.found().read_at
    till.ask(keep=2 * USDC)
    till.look()
    assert till.found().read_at != before
    for _ in range(4):
        till.look(400)
    assert "no such transaction" in till.found("org_B").detail


def test_an_offer_that_nobody_can_tell_of_goes_behind_the_others(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    poison = till.approve(till.ask(owner="org_B").memo, by=till.net.wallet(USDC))
    sound = till.approve(till.ask().memo)
    monkeypatch.setattr(till.net, "chain", Poisoned(till.net, poison))
    till.offer(poison, owner="org_B")
    till.offer(sound)
    assert (till.found("org_B").state, till.found().state) == ("waiting", "active")


def test_an_approval_without_limit_is_one_of_all_that_the_market_counts_to(till: Till) -> None:
    till.open(amount=2**64 - 1)
    till.pull()
    assert (till.found().delegated_microusd, till.available()) == (MICROUSD_MAX, USDC)


def test_what_the_token_program_owns_and_is_no_token_account_holds_nothing() -> None:
    for size in (82, 355):
        data = base64.b64encode(bytes(size)).decode()
        assert AccountAnswer(owner=str(TOKEN_PROGRAM), data=(data, "base64")).holding() == Holding()


def test_who_can_be_given_nothing_makes_room_for_others(till: Till) -> None:
    till.open(keep=USDC, daily=USDC)
    till.pull()
    till.ask(keep=2 * USDC, daily=USDC)
    till.look()
    with till.database.transaction() as session:
        assert len(session.execute(pulls.wanting(till.clock.now())).all()) == 1
        assert pulls.open_due(session, till.custody, till.clock.now(), CONFIG) == 0, "its cap of the day is reached"
        assert session.execute(pulls.wanting(till.clock.now())).all() == []
        assert len(session.execute(pulls.wanting(till.clock.now() + pulls.NOTHING_PAUSE)).all()) == 1
    with pytest.raises(InvalidInput, match=r"0\.10 USDC is never pulled"):
        till.ask(daily=1)


BREAKS = {
    "confirmed pulls are in a finalized batch and credited once": "UPDATE pulls SET organization_id = 'org_B'",
    "has no pull": "DELETE FROM pulls",
    "custody is deposits and pulls less payouts": "UPDATE pulls SET amount_microusd = amount_microusd + 1",
}


def test_broken_books_are_found_and_named(till: Till) -> None:
    till.open()
    till.pull()
    for invariant, change in BREAKS.items():
        with till.database.engine.connect() as connection:
            session = Session(connection)
            session.execute(text("SET LOCAL session_replication_role = replica"))
            session.execute(text(change))
            assert any(invariant in broken for broken in audit.check(session)), invariant
            session.rollback()
    till.check()


def approval(delegate: str, owner: str, signers: frozenset[str], memos: tuple[str, ...]) -> ChainTransaction:
    data = bytes([APPROVE_CHECKED]) + (5).to_bytes(8, "little") + b"\x06"
    instruction = ChainInstruction(str(TOKEN_PROGRAM), ("account", "mint", delegate, owner), data)
    return ChainTransaction("s", 1, None, None, 0, (), memos, (instruction,), (), (), signers)


def test_an_approval_that_its_owner_has_not_signed_is_nobodys_word() -> None:
    memos = (memo_of("alw_1"),)
    good = approval("market", "owner", frozenset({"owner"}), memos)
    assert approval_in(good, allowance_id="alw_1", delegate="market").token_account == "account"
    for bad in (
        approval("market", "owner", frozenset({"payer"}), memos),
        approval("thief", "owner", frozenset({"owner"}), memos),
        replace(good, instructions=good.instructions * 2),
    ):
        with pytest.raises(InvalidInput):
            approval_in(bad, allowance_id="alw_1", delegate="market")


def test_a_forged_answer_has_no_right_signature(till: Till) -> None:
    transaction = till.net.chain.read_transaction(till.approve("x"))
    assert transaction is not None and transaction.signers == {str(till.owner.pubkey())}


AMOUNTS = st.integers(0, 10**9)


@given(AMOUNTS, AMOUNTS, AMOUNTS, AMOUNTS, st.integers(-(10**9), 10**9), st.integers(1, 10**6), st.integers(1, 10**9))
def test_what_is_pulled_is_within_every_bound(
    available: int, keep: int, windows: int, pullable: int, room: int, least: int, most: int
) -> None:
    amount = amount_due(Need(available, keep, windows, pullable, room), least, most)
    short = keep + windows - available
    assert amount == 0 or least <= amount <= min(most, pullable, room)
    assert amount <= max(short, least) if short > 0 else amount == 0, "no more custody than what is short"
