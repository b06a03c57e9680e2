"""Every payout is on the chain exactly once, whatever dies between any two steps, and every root is anchored."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import pytest
from books import PROVIDER, Books, Stream
from dying import Dying, Killed
from local_net import LocalNet, result
from solders.keypair import Keypair
from sqlalchemy import select

from billing.chains.payments import PAYMENTS_MAX
from billing.chains.port import Chain, ChainUnavailable, SignatureState, SignatureStatus, Simulation
from billing.charging import funding
from billing.ledger import accounts, audit, posting
from billing.settling import earnings, epochs, payouts, receipts, settlement, wallets
from billing.settling.settlement import Settler, sender_lock
from billing.tables.settlement import PayoutRow, SettlementBatchRow, SigningRow
from billing.treasury.custody import Custody
from infra.database import Database
from market.clock import ManualClock
from market.receipts import verify_receipt

EARNED = 47_500


class Changed:
    """The chain with some of its answers changed."""

    def __init__(self, chain: Chain, **answers: Callable[..., Any]) -> None:
        self._chain, self._answers = chain, answers

    def __getattr__(self, name: str) -> Any:
        return self._answers.get(name) or getattr(self._chain, name)


def run(database: Any, clock: ManualClock, net: LocalNet, chain: Any) -> None:
    Settler(database, chain, Custody(net.treasury_key, net.mint), clock).run()


def settle(database: Database, clock: ManualClock, net: LocalNet, dying: Dying | None = None) -> None:
    """One pass."""
    dying = dying or Dying()
    run(dying.database(database), clock, net, dying.chain(net.chain))


def settle_all(database: Database, clock: ManualClock, net: LocalNet, dying: Dying | None = None) -> None:
    """Pass after pass, until nothing is open."""
    unfinished = select(SettlementBatchRow.id).where(SettlementBatchRow.done_at.is_(None))
    for _ in range(12):
        settle(database, clock, net, dying)
        with database.read() as session:
            if not session.scalars(unfinished).all():
                return
        net.finalize()
    raise AssertionError("the settlement did not come to its end")


def earn(database: Database, clock: ManualClock, net: LocalNet, owners: Sequence[Keypair]) -> list[str]:
    """Each owner's provider runs one job, paid from deposits that are in the treasury; returns the jobs."""
    net.wallet()
    jobs = []
    with database.transaction() as session:
        books = Books(session, clock)
        for number, owner in enumerate(owners):
            provider_id = f"{PROVIDER}{number}"
            books.deposit(1_000_000)
            terms = books.terms()
            books.open(terms)
            placed = books.place(terms, provider_id=provider_id)
            books.wait(60)
            books.report(Stream(placed.lease_id).read(50_000, final=True))
            books.end(placed)
            funding.end_job(session, terms.job_id, 1, books.now)
            wallets.set_wallet(session, provider_id, str(owner.pubkey()), books.now)
            jobs.append(terms.job_id)
        epochs.close(session, books.now, books.config)
    return jobs


def fill_treasury(net: LocalNet, microusd: int) -> None:
    payer = net.wallet(microusd)
    net.chain.send(net.deposit(payer, microusd))
    net.finalize()


def paid(net: LocalNet, owner: Keypair) -> int:
    """What is in the wallet once everything that was ever sent has landed."""
    net.finalize()
    return net.chain.token_balance(str(owner.pubkey()), net.mint)


def recipient(net: LocalNet) -> Keypair:
    """A wallet with a token account and one micro-USDC in it."""
    return net.wallet(1)


def outcomes(database: Database) -> list[str | None]:
    with database.read() as session:
        return list(session.scalars(select(SigningRow.outcome).order_by(SigningRow.batch_id, SigningRow.number)))


def test_an_epoch_is_anchored_and_paid_and_its_receipt_says_where(
    database: Database, clock: ManualClock, net: LocalNet
) -> None:
    fill_treasury(net, 1_000_000)
    owner = recipient(net)
    (job_id,) = earn(database, clock, net, [owner])
    settle_all(database, clock, net)
    assert paid(net, owner) == 1 + EARNED
    with database.read() as session:
        found = earnings.of_provider(session, f"{PROVIDER}0")
        assert (found.payable_microusd, found.paying_microusd, found.paid_microusd) == (0, 0, EARNED)
        status = epochs.status(session, 1)
        (payout,) = status.payouts
        assert payout.state == "confirmed" and payout.signature is not None
        receipt = receipts.receipt(session, job_id, net.treasury)
        assert verify_receipt(receipt).ok
        assert receipt.lines[0].anchor_signature == status.anchor_signature is not None
        anchor = net.chain.read_transaction(status.anchor_signature or "")
        assert anchor is not None and anchor.memos == (receipt.lines[0].epoch.memo,)
        assert anchor.account_keys[0] == net.treasury
        transfer = net.chain.read_transaction(payout.signature)
        assert transfer is not None and transfer.token_delta(net.treasury, net.mint) == -EARNED
        assert audit.check(session) == []


def test_a_settler_killed_at_any_step_pays_exactly_once(database: Database, clock: ManualClock, net: LocalNet) -> None:
    fill_treasury(net, 10_000_000)
    owner = recipient(net)
    for at in range(100):
        earn(database, clock, net, [owner])
        try:
            settle_all(database, clock, net, Dying(at))
            break
        except Killed:
            settle_all(database, clock, net)
        assert paid(net, owner) == 1 + (at + 1) * EARNED, f"killed at step {at}"
    assert 12 <= at < 99, "every step of a settlement was tried"
    assert set(outcomes(database)) == {"finalized"}
    with database.read() as session:
        assert earnings.of_provider(session, f"{PROVIDER}0").paid_microusd == paid(net, owner) - 1
        assert audit.check(session) == []


def test_bytes_that_never_arrived_are_signed_anew_only_after_they_expired(
    database: Database, clock: ManualClock, net: LocalNet
) -> None:
    fill_treasury(net, 1_000_000)
    owner = recipient(net)
    earn(database, clock, net, [owner])
    drop = Changed(net.chain, send=lambda wire: "dropped")
    for _ in range(3):
        run(database, clock, net, drop)
        net.blocks(20)
    assert outcomes(database) == [None, None]
    net.blocks(150)
    run(database, clock, net, drop)
    assert outcomes(database) == ["expired", "expired"]
    settle_all(database, clock, net)
    assert outcomes(database) == ["expired", "finalized", "expired", "finalized"]
    assert paid(net, owner) == 1 + EARNED


def test_an_rpc_that_does_not_know_what_landed_makes_nobody_pay_twice(
    database: Database, clock: ManualClock, net: LocalNet
) -> None:
    fill_treasury(net, 1_000_000)
    owner = recipient(net)
    earn(database, clock, net, [owner])
    settle(database, clock, net)

    def unknown(signatures: Sequence[str]) -> list[SignatureStatus]:
        return [SignatureStatus(signature, SignatureState.UNKNOWN, None, None) for signature in signatures]

    forgetful = Changed(net.chain, signature_statuses=unknown)
    for _ in range(4):
        net.blocks(100)
        run(database, clock, net, forgetful)
        assert set(outcomes(database)) <= {None, "finalized"}, "the other RPCs know it: it has not expired everywhere"
    assert outcomes(database) == ["finalized", "finalized"]
    assert paid(net, owner) == 1 + EARNED


def test_finalized_is_believed_when_the_transaction_itself_is_shown(
    database: Database, clock: ManualClock, net: LocalNet
) -> None:
    fill_treasury(net, 1_000_000)
    earn(database, clock, net, [recipient(net)])
    settle(database, clock, net)
    net.finalize()
    run(database, clock, net, Changed(net.chain, read_transaction=lambda signature: None))
    assert outcomes(database) == [None, None]
    settle_all(database, clock, net)
    assert outcomes(database) == ["finalized", "finalized"]


def test_an_rpc_that_is_away_costs_only_time(database: Database, clock: ManualClock, net: LocalNet) -> None:
    fill_treasury(net, 1_000_000)
    owner = recipient(net)
    earn(database, clock, net, [owner])

    def away(*_: object) -> Any:
        raise ChainUnavailable("nobody answers")

    for name in ("latest_blockhash", "simulate", "send", "signature_statuses", "read_transaction"):
        run(database, clock, net, Changed(net.chain, **{name: away}))
        net.finalize()
    settle_all(database, clock, net)
    assert paid(net, owner) == 1 + EARNED


def test_one_wallet_that_cannot_be_paid_keeps_nobody_else_waiting(
    database: Database, clock: ManualClock, net: LocalNet
) -> None:
    fill_treasury(net, 2_000_000)
    good, bare, other = recipient(net), net.wallet(), recipient(net)
    earn(database, clock, net, [good, bare, net.treasury_key, other])
    settle_all(database, clock, net)
    assert (paid(net, good), paid(net, bare), paid(net, other)) == (1 + EARNED, 0, 1 + EARNED)
    with database.read() as session:
        (refused,) = payouts.of_provider(session, f"{PROVIDER}1")
        (own,) = payouts.of_provider(session, f"{PROVIDER}2")
        assert refused.state == own.state == "returned"
        assert "token account" in refused.detail and "treasury" in own.detail
        assert earnings.of_provider(session, f"{PROVIDER}1").payable_microusd == EARNED
        assert audit.check(session) == []
    result(net.url, "gridbay_mintTestUsdc", str(bare.pubkey()), 1)
    net.finalize()
    with database.transaction() as session:
        epochs.close(session, clock.now(), Books(session, clock).config)
        assert earnings.of_provider(session, f"{PROVIDER}1").payable_microusd == EARNED, "it is held for a day"
        clock.advance(timedelta(seconds=1))
        wallets.set_wallet(session, f"{PROVIDER}1", str(bare.pubkey()), clock.now())
        epochs.close(session, clock.now(), Books(session, clock).config)
    settle_all(database, clock, net)
    assert paid(net, bare) == 1 + EARNED


def test_a_treasury_that_is_short_keeps_its_debts_until_it_can_pay(
    database: Database, clock: ManualClock, net: LocalNet
) -> None:
    owner = recipient(net)
    earn(database, clock, net, [owner])
    for _ in range(3):
        settle(database, clock, net)
        net.finalize()
    assert paid(net, owner) == 1
    with database.read() as session:
        assert earnings.of_provider(session, f"{PROVIDER}0").paying_microusd == EARNED
    fill_treasury(net, 1_000_000)
    settle_all(database, clock, net)
    assert paid(net, owner) == 1 + EARNED


def test_many_payouts_are_split_over_transactions_that_fit(
    database: Database, clock: ManualClock, net: LocalNet
) -> None:
    fill_treasury(net, 2_000_000)
    owners = [recipient(net) for _ in range(PAYMENTS_MAX + 2)]
    earn(database, clock, net, owners)
    settle_all(database, clock, net)
    assert [paid(net, owner) for owner in owners] == [1 + EARNED] * len(owners)
    with database.read() as session:
        batches = session.scalars(select(PayoutRow.batch_id).distinct()).all()
        assert len(batches) == 2
        assert posting.balances(session, [accounts.TREASURY]) == {accounts.TREASURY: EARNED * len(owners) - 19_000_000}


def test_a_second_sender_does_nothing(database: Database, clock: ManualClock, net: LocalNet) -> None:
    fill_treasury(net, 1_000_000)
    earn(database, clock, net, [recipient(net)])
    with sender_lock(database) as alone:
        assert alone
        settle(database, clock, net)
    assert outcomes(database) == []


def test_two_senders_that_both_think_they_are_alone_sign_once(
    database: Database, clock: ManualClock, net: LocalNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_treasury(net, 1_000_000)
    owner = recipient(net)
    earn(database, clock, net, [owner])
    monkeypatch.setattr(settlement, "sender_lock", lambda _: nullcontext(True))

    def simulate(wire: bytes) -> Simulation:
        # The other one signs over another blockhash: the same bytes could not land twice anyway.
        net.blocks(1)
        settle(database, clock, net)
        net.blocks(1)
        return net.chain.simulate(wire)

    run(database, clock, net, Changed(net.chain, simulate=simulate))
    settle_all(database, clock, net)
    assert paid(net, owner) == 1 + EARNED
    assert outcomes(database) == ["finalized", "finalized"]
