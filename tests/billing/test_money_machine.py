"""Whatever happens in whatever order, the books are right after every step, and nothing is ever below zero."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count

import pytest
from books import PROVIDER, Books, Stream
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from solders.keypair import Keypair
from sqlalchemy import select

from billing.chains.transactions import SignedTransaction
from billing.charging import bills, funding
from billing.charging.funding import JobTerms
from billing.settling import batches, epochs, receipts, wallets
from billing.settling.batches import Batch
from billing.tables.bills import UsageLineRow
from billing.tables.funding import HoldRow, WindowRow
from infra.outbox import NotReady
from market.errors import InsufficientFunds, InvalidInput
from market.messages import AttemptPlaced
from market.receipts import verify_receipt

EXAMPLES = 500 if os.environ.get("GRIDBAY_SOAK") else 12
_signatures = count(1)


@dataclass
class Job:
    terms: JobTerms
    attempts: int = 0
    placed: AttemptPlaced | None = None
    streams: list[Stream] = field(default_factory=list)
    over: bool = False


class Money(RuleBasedStateMachine):
    """A market of random customers, providers' reports, losses, retries, epochs and payouts."""

    def __init__(self, fresh_books: Callable[[], Books]) -> None:
        super().__init__()
        # Small numbers are what hypothesis tries first: begin with enough to get anywhere.
        self.books = fresh_books()
        self.session = self.books.session
        self.jobs: list[Job] = []
        self.books.deposit(5_000_000)
        wallets.set_wallet(self.session, PROVIDER, str(Keypair().pubkey()), self.books.now)

    def running(self) -> list[Job]:
        return [job for job in self.jobs if job.placed is not None]

    def waiting(self) -> list[Job]:
        """Jobs whose next attempt is funded."""
        unbound = select(HoldRow.job_id).where(
            HoldRow.settled_at.is_(None), HoldRow.id.not_in(select(WindowRow.hold_id))
        )
        funded = set(self.session.scalars(unbound))
        return [job for job in self.jobs if job.placed is None and not job.over and job.terms.job_id in funded]

    @rule(amount=st.integers(1, 2_000_000))
    def deposit(self, amount: int) -> None:
        self.books.deposit(amount)

    @rule(
        quantity=st.integers(300, 4000),
        limit=st.integers(500_000, 4_000_000),
        total=st.none() | st.integers(100_000, 2_000_000),
        duration=st.integers(100, 4000),
        discount=st.integers(0, 1_000_000),
    )
    def open(self, quantity: int, limit: int, total: int | None, duration: int, discount: int) -> None:
        terms = self.books.terms(
            quantity_milli=quantity,
            price_limit_microusd_per_unit_hour=limit,
            max_total_microusd=total,
            max_duration_seconds=duration,
        )
        try:
            self.books.open(terms)
        except (InsufficientFunds, InvalidInput):
            return
        self.jobs.append(Job(terms))
        if discount % 4:
            self.start(self.jobs[-1], discount)

    @precondition(lambda self: self.waiting())
    @rule(data=st.data(), discount=st.integers(0, 4_000_000))
    def place(self, data: st.DataObject, discount: int) -> None:
        self.start(data.draw(st.sampled_from(self.waiting())), discount)

    def start(self, job: Job, discount: int) -> None:
        job.attempts += 1
        of_attempt = select(HoldRow).where(
            HoldRow.job_id == job.terms.job_id, HoldRow.attempt_number == job.attempts, HoldRow.window_number == 0
        )
        seconds = self.session.scalars(of_attempt).one().seconds
        price = max(0, job.terms.price_limit_microusd_per_unit_hour - discount)
        job.placed = self.books.place(job.terms, number=job.attempts, price=price, seconds=seconds)
        job.streams = [Stream(job.placed.lease_id)]

    @rule(seconds=st.integers(20, 900))
    def wait(self, seconds: int) -> None:
        self.books.wait(seconds)

    @precondition(lambda self: self.running())
    @rule(minutes=st.integers(1, 40), share=st.floats(0.5, 1.2))
    def work(self, minutes: int, share: float) -> None:
        """As it should be: time passes, nodes report, windows are funded and captured."""
        for _ in range(0, minutes, 5):
            self.books.wait(300)
            for job in self.running():
                self.tell(job, share, final=False)
            self.books.fund()
            self.books.capture()

    @precondition(lambda self: self.running())
    @rule(data=st.data(), share=st.floats(0, 1.2), lost_spool=st.booleans(), final=st.booleans())
    def report(self, data: st.DataObject, share: float, lost_spool: bool, final: bool) -> None:
        job = data.draw(st.sampled_from(self.running()))
        if lost_spool:
            job.streams.append(Stream(job.streams[-1].lease_id))
        self.tell(job, share, final=final)

    def tell(self, job: Job, share: float, *, final: bool) -> None:
        assert job.placed is not None
        stream = job.streams[-1]
        if not (stream.readings and stream.readings[-1].final):
            elapsed_ms = (self.books.now - job.placed.granted_at).total_seconds() * 1000
            self.books.report(stream.read(int(elapsed_ms * share), final=final))

    @rule()
    def fund(self) -> None:
        self.books.fund()

    @rule()
    def capture(self) -> None:
        self.books.capture()

    @precondition(lambda self: self.running())
    @rule(data=st.data(), retried=st.integers(0, 3), seconds_ago=st.integers(0, 100), final=st.booleans())
    def end(self, data: st.DataObject, retried: int, seconds_ago: int, final: bool) -> None:
        job = data.draw(st.sampled_from(self.running()))
        assert job.placed is not None
        if final:
            self.tell(job, 0.9, final=True)
        self.books.end(job.placed, self.books.now - timedelta(seconds=seconds_ago))
        job.placed = None
        if not retried:
            self.finish(job)
            return
        try:
            funding.requeue(
                self.session,
                job.terms.job_id,
                attempts_placed=job.attempts,
                remaining_seconds=job.terms.max_duration_seconds,
                now=self.books.now,
                config=self.books.config,
            )
        except NotReady:
            self.finish(job)

    @precondition(lambda self: self.waiting())
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        self.finish(data.draw(st.sampled_from(self.waiting())))

    def finish(self, job: Job) -> None:
        funding.end_job(self.session, job.terms.job_id, job.attempts, self.books.now)
        job.over = True

    @rule()
    def close(self) -> None:
        epochs.close(self.session, self.books.now, self.books.config)

    @rule(fate=st.sampled_from(["finalized", "failed", "expired", "dropped"]))
    def pay(self, fate: str) -> None:
        self.books.prepare()
        for batch in batches.open_batches(self.session):
            self.settle(batch, fate)

    def settle(self, batch: Batch, fate: str) -> None:
        now = self.books.now
        if fate == "dropped":
            if batch.payments:
                batches.hold_payment(self.session, batch, 0, "no token account", now)
            return
        signature = f"signature {next(_signatures)}"
        assert batches.sign(self.session, batch, SignedTransaction(b"wire", signature), 10, now)
        assert not batches.sign(self.session, batch, SignedTransaction(b"wire", signature + "'"), 10, now)
        if fate == "finalized":
            batches.finalized(self.session, batch.batch_id, signature, now)
        else:
            batches.gone(self.session, batch.batch_id, signature, fate, "")

    @invariant()
    def the_books_are_right(self) -> None:
        self.books.check()

    def teardown(self) -> None:
        """In the end every job's bill is complete, proven, and nothing is held."""
        for job in self.running():
            assert job.placed is not None
            self.books.end(job.placed)
            self.finish(job)
        for job in self.jobs:
            if not job.over:
                self.finish(job)
        self.books.wait(3600)
        self.books.capture()
        epochs.close(self.session, self.books.now, self.books.config)
        self.books.check()
        assert self.books.money()[1] == 0
        for job in self.jobs:
            receipt = receipts.receipt(self.session, job.terms.job_id, treasury="treasury")
            assert verify_receipt(receipt).problems == ()
            assert (
                receipt.total_microusd == bills.costs(self.session, [job.terms.job_id])[job.terms.job_id].total_microusd
            )
        assert self.session.scalars(select(UsageLineRow.id).where(UsageLineRow.epoch.is_(None))).all() == []


@pytest.mark.timeout(300)
def test_random_sequences_keep_every_invariant(fresh_books: Callable[[], Books]) -> None:
    run_state_machine_as_test(
        lambda: Money(fresh_books),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
