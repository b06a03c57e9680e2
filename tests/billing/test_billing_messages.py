"""Through the real outbox: what the scheduler says, in whatever order and however often, billing does once."""

import os
from datetime import timedelta
from itertools import permutations
from random import Random
from types import SimpleNamespace

import pytest
from books import NODE, ORGANIZATION, PROVIDER, Books, Stream
from local_net import LocalNet
from sqlalchemy import select, update

from billing import handlers, tasks
from billing.charging import bills
from billing.settling import earnings, payouts, receipts
from billing.treasury import custody, deposits
from billing.treasury.custody import Custody
from infra.database import Database
from infra.outbox import publish
from infra.outbox.delivery import by_subscriber, claim, deliver
from infra.outbox.tables import Delivery
from market.clock import ManualClock
from market.ids import new_id
from market.messages import (
    AttemptEnded,
    AttemptPlaced,
    JobEnded,
    JobRequeued,
    Message,
    WalletChanged,
)
from market.receipts import verify_receipt
from market.states import JobState, Reason

assert handlers


def placed(books: Books, job_id: str, number: int) -> AttemptPlaced:
    return AttemptPlaced(
        job_id=job_id,
        organization_id=ORGANIZATION,
        attempt_id=new_id("att"),
        attempt_number=number,
        lease_id=new_id("lease"),
        node_id=NODE,
        provider_id=PROVIDER,
        unit="gpu",
        quantity_milli=1000,
        price_microusd_per_unit_hour=3_600_000,
        simulated=False,
        granted_at=books.now,
        held_until=books.now + timedelta(seconds=900),
    )


def ended(of: AttemptPlaced, books: Books) -> AttemptEnded:
    reason = Reason.FAILED_PROVIDER_LOST
    return AttemptEnded(
        job_id=of.job_id, attempt_id=of.attempt_id, lease_id=of.lease_id, ended_at=books.now, reason=reason
    )


def deliver_all(database: Database, clock: ManualClock) -> None:
    """Until nothing is left to deliver to billing; what is not ready comes again."""
    for _ in range(40):
        with database.transaction() as session:
            session.execute(update(Delivery).values(due_at=clock.now(), attempts=0))
            due = [item for item in claim(session, clock.now()) if item.subscriber.startswith("billing.")]
        if not due:
            return
        for subscriber, message_ids in by_subscriber(due).items():
            deliver(database, clock, subscriber, message_ids)
    raise AssertionError("some messages are never done with")


def test_the_messages_of_a_retried_job_may_come_in_any_order(database: Database, clock: ManualClock) -> None:
    orders = list(permutations(range(5)))
    for order in orders if os.environ.get("GRIDBAY_SOAK") else Random().sample(orders, 8):
        with database.transaction() as session:
            books = Books(session, clock)
            books.deposit(2_000_000)
            terms = books.terms()
            books.open(terms)
            first, second = placed(books, terms.job_id, 1), placed(books, terms.job_id, 2)
            for at in (first, second):
                books.report(Stream(at.lease_id).read(10_000, final=True))
            books.wait(20)
            said: list[Message] = [
                first,
                ended(first, books),
                JobRequeued(
                    job_id=terms.job_id, organization_id=ORGANIZATION, attempts_placed=1, remaining_seconds=5000
                ),
                second,
                ended(second, books),
            ]
            end = JobEnded(
                job_id=terms.job_id,
                organization_id=ORGANIZATION,
                state=JobState.FAILED,
                reason=Reason.FAILED_PROVIDER_LOST,
                attempts_placed=2,
            )
            publish(session, *(said[index] for index in order), end)
        deliver_all(database, clock)
        with database.transaction() as session:
            assert bills.costs(session, [terms.job_id])[terms.job_id] == bills.JobCost(20_000, 0, True, 20_000), order
            publish(session, *said, end)
        deliver_all(database, clock)
        with database.read() as session:
            Books(session, clock).check()
            assert bills.costs(session, [terms.job_id])[terms.job_id].total_microusd == 20_000, order


def test_the_tasks_carry_a_job_from_a_deposit_to_a_payout(
    database: Database, clock: ManualClock, net: LocalNet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "ground", lambda: SimpleNamespace(database=database, clock=clock))
    ours = Custody(net.treasury_key, net.mint)
    for name, value in (("custody", ours), ("chain", net.chain), ("has_treasury", True), ("signs", True)):
        monkeypatch.setattr(custody, name, lambda value=value: value)
    payer, owner = net.wallet(5_000_000), net.wallet(1)
    with database.transaction() as session:
        asked = deposits.request(session, ORGANIZATION, 2_000_000, clock.now())
        publish(
            session,
            WalletChanged(provider_id=PROVIDER, wallet_address=str(owner.pubkey()), changed_at=clock.now()),
        )
    net.chain.send(net.deposit(payer, 2_000_000, asked.reference, asked.memo))
    net.finalize()
    tasks.watch_deposits()
    with database.transaction() as session:
        books = Books(session, clock)
        assert books.money() == (2_000_000, 0)
        terms, at, stream = books.run()
    clock.advance(timedelta(seconds=450))
    tasks.fund_windows()
    clock.advance(timedelta(seconds=450))
    with database.transaction() as session:
        Books(session, clock).report(stream.read(899_000))
    tasks.capture_windows()
    with database.transaction() as session:
        books = Books(session, clock)
        assert bills.costs(session, [terms.job_id])[terms.job_id].total_microusd == 899_000
        books.report(stream.read(900_000, final=True))
        publish(session, ended(at, books))
        end = JobEnded(
            job_id=terms.job_id,
            organization_id=ORGANIZATION,
            state=JobState.SUCCEEDED,
            reason=Reason.SUCCEEDED,
            attempts_placed=1,
        )
        publish(session, end)
    deliver_all(database, clock)
    clock.advance(timedelta(hours=1))
    tasks.close_epoch()
    for _ in range(3):
        tasks.settle()
        net.finalize()
    tasks.check_books()
    with database.read() as session:
        assert earnings.of_provider(session, PROVIDER).paid_microusd == 855_000
        (payout,) = payouts.of_provider(session, PROVIDER)
        assert payout.state == "confirmed"
        receipt = receipts.receipt(session, terms.job_id)
        assert verify_receipt(receipt).ok and receipt.treasury == net.treasury
        assert receipt.lines[0].anchor_signature is not None
        assert session.scalars(select(Delivery.subscriber).where(Delivery.parked_at.is_not(None))).all() == []
        Books(session, clock).check()
    assert net.chain.token_balance(str(owner.pubkey()), net.mint) == 1 + 855_000
    assert net.chain.token_balance(net.treasury, net.mint) == 2_000_000 - 855_000
