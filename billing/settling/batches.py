"""Settlement batches as rows: what each must pay, which signing of it may still land, and what became of that.

Every function is one step of a transaction of its own; between two of them the process may die.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from billing.chains.payments import PAYMENTS_MAX, Payment
from billing.chains.transactions import SignedTransaction
from billing.ledger import posting
from billing.settling import epochs, payouts
from billing.tables.bills import EpochRow
from billing.tables.settlement import PayoutRow, SettlementBatchRow, SigningRow
from market.ids import new_id

NEW_BATCHES_MAX = 5
OPEN_BATCHES_MAX = 20
DETAIL_MAX_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Live:
    """A signing that may still land."""

    signature: str
    wire: bytes
    last_valid_block_height: int


@dataclass(frozen=True, slots=True)
class Batch:
    """One transaction to be made. payments and payout_ids are in the same order; an anchor has none."""

    batch_id: str
    memo: str
    payout_ids: tuple[str, ...]
    payments: tuple[Payment, ...]
    live: Live | None

    @property
    def total_microusd(self) -> int:
        return sum(payment.amount_microusd for payment in self.payments)


def prepare(session: Session, now: datetime) -> None:
    """Make a batch for every closed epoch without an anchor, and put waiting payouts into batches."""
    unanchored = select(EpochRow).where(~exists().where(SettlementBatchRow.epoch == EpochRow.number))
    for epoch in session.scalars(unanchored.order_by(EpochRow.number).limit(NEW_BATCHES_MAX)):
        memo = epochs.epoch_root(epoch).memo
        session.add(
            SettlementBatchRow(id=new_id("batch"), kind="anchor", epoch=epoch.number, memo=memo, created_at=now)
        )
    waiting = session.scalars(
        select(PayoutRow)
        .where(PayoutRow.state == "open", PayoutRow.batch_id.is_(None))
        .order_by(PayoutRow.id)
        .limit(NEW_BATCHES_MAX * PAYMENTS_MAX)
        .with_for_update(key_share=True)
    ).all()
    for start in range(0, len(waiting), PAYMENTS_MAX):
        batch_id = new_id("batch")
        memo = f"gridbay/payout/v1 {batch_id}"
        session.add(SettlementBatchRow(id=batch_id, kind="payouts", memo=memo, created_at=now))
        session.flush()
        for payout in waiting[start : start + PAYMENTS_MAX]:
            payout.batch_id = batch_id
    session.flush()


def open_batches(session: Session) -> list[Batch]:
    """What is not done, oldest first."""
    rows = session.scalars(
        select(SettlementBatchRow)
        .where(SettlementBatchRow.done_at.is_(None))
        .order_by(SettlementBatchRow.id)
        .limit(OPEN_BATCHES_MAX)
    ).all()
    return [_batch(session, row) for row in rows]


def sign(
    session: Session, batch: Batch, signed: SignedTransaction, last_valid_block_height: int, now: datetime
) -> bool:
    """Store a signing of a batch that has none before it is sent. False when the batch is no longer what was signed."""
    assert batch.live is None
    row = _lock(session, batch.batch_id)
    if row.done_at is not None or _batch(session, row) != batch:
        return False
    last = select(func.coalesce(func.max(SigningRow.number), 0)).where(SigningRow.batch_id == batch.batch_id)
    session.add(
        SigningRow(
            signature=signed.signature,
            batch_id=batch.batch_id,
            number=session.scalars(last).one() + 1,
            wire=signed.wire,
            last_valid_block_height=last_valid_block_height,
            signed_at=now,
        )
    )
    session.flush()
    return True


def drop_payment(session: Session, batch: Batch, index: int, detail: str, now: datetime) -> None:
    """Take a payment that the chain would refuse out of a batch that nothing is signed for, and give the money back."""
    assert batch.live is None
    row = _lock(session, batch.batch_id)
    if row.done_at is not None or _batch(session, row) != batch:
        return
    payout = session.get_one(PayoutRow, batch.payout_ids[index], populate_existing=True)
    returned = payouts.give_back(payout, detail[:DETAIL_MAX_CHARACTERS], now)
    session.flush()
    if not _batch(session, row).payments:
        row.done_at = now
    posting.post(session, [returned])


def finalized(session: Session, batch_id: str, signature: str, now: datetime) -> None:
    """The chain has finalized it without error: its payouts are confirmed."""
    row = _lock(session, batch_id)
    signing = session.get_one(SigningRow, signature, populate_existing=True)
    if signing.outcome is not None:
        return
    signing.outcome, row.done_at = "finalized", now
    confirmed = session.scalars(
        select(PayoutRow).where(PayoutRow.batch_id == batch_id, PayoutRow.state == "open").order_by(PayoutRow.id)
    ).all()
    transfers = [payouts.confirm(payout, now) for payout in confirmed]
    session.flush()
    posting.post(session, transfers)


def gone(session: Session, batch_id: str, signature: str, outcome: str, detail: str) -> None:
    """It moved nothing and never will: `failed` (finalized with an error) or `expired`. It may be signed anew."""
    _lock(session, batch_id)
    signing = session.get_one(SigningRow, signature, populate_existing=True)
    if signing.outcome is None:
        signing.outcome, signing.detail = outcome, detail[:DETAIL_MAX_CHARACTERS]
        session.flush()


def _lock(session: Session, batch_id: str) -> SettlementBatchRow:
    return session.get_one(SettlementBatchRow, batch_id, with_for_update=True, populate_existing=True)


def _batch(session: Session, row: SettlementBatchRow) -> Batch:
    paid: Sequence[PayoutRow] = session.scalars(
        select(PayoutRow).where(PayoutRow.batch_id == row.id, PayoutRow.state == "open").order_by(PayoutRow.id)
    ).all()
    live = session.scalars(select(SigningRow).where(SigningRow.batch_id == row.id, SigningRow.outcome.is_(None)))
    signing = live.one_or_none()
    return Batch(
        batch_id=row.id,
        memo=row.memo,
        payout_ids=tuple(payout.id for payout in paid),
        payments=tuple(Payment(payout.wallet_address, payout.amount_microusd) for payout in paid),
        live=Live(signing.signature, signing.wire, signing.last_valid_block_height) if signing else None,
    )
