"""Settlement batches as rows: what each must move, which signing of it may still land, and what became of that.

Every function is one step of a transaction of its own; between two of them the process may die.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, exists, select
from sqlalchemy.orm import Session

from billing.chains.lookup_tables import Table
from billing.chains.payments import TABLE_PAYMENTS_MAX, Payment, Pull, payments_max
from billing.chains.transactions import SignedTransaction, associated_token_address
from billing.ledger import posting
from billing.settling import epochs, lookups, payouts, pulls, wallets
from billing.tables.allowances import PullRow
from billing.tables.bills import EpochRow
from billing.tables.settlement import PayoutRow, SettlementBatchRow, SigningRow
from market.ids import new_id

NEW_BATCHES_MAX = 5
OPEN_BATCHES_MAX = 20
OPEN_PULLS_MAX = 40
"""Pulls go singly, and must not keep payouts waiting, nor payouts them."""
DETAIL_MAX_CHARACTERS = 500
_MEMO_WORDS = {"payouts": "payout", "pull": "pull"}


@dataclass(frozen=True, slots=True)
class Live:
    """A signing that may still land."""

    signature: str
    wire: bytes
    last_valid_block_height: int


@dataclass(frozen=True, slots=True)
class Batch:
    """One transaction to be made. payments and payout_ids are in the same order; an anchor has none, nor has a pull.

    table: what the payments go through, or what grows by `entries` (None: a table is to be made). table_address: of the
    one that the last signing makes. signings: how many there were.
    """

    batch_id: str
    kind: str
    memo: str
    payout_ids: tuple[str, ...]
    payments: tuple[Payment, ...]
    live: Live | None
    table: Table | None
    table_address: str | None
    entries: tuple[str, ...]
    signings: int
    pull: Pull | None = None

    @property
    def total_microusd(self) -> int:
        return sum(payment.amount_microusd for payment in self.payments)

    def moves(self, treasury: str, mint: str) -> dict[str, int]:
        """By how much the token accounts must change that its transaction is made for."""
        if self.pull is not None:
            source, amount = self.pull.source, self.pull.amount_microusd
            return {source: -amount, associated_token_address(treasury, mint): amount}
        moved: dict[str, int] = {}
        for payment in self.payments:
            account = associated_token_address(payment.owner, mint)
            moved[account] = moved.get(account, 0) + payment.amount_microusd
        return moved


def prepare(session: Session, treasury: str, mint: str, now: datetime) -> None:
    """Make a batch for every closed epoch without an anchor, and put waiting payouts into batches."""
    unanchored = select(EpochRow).where(~exists().where(SettlementBatchRow.epoch == EpochRow.number))
    for epoch in session.scalars(unanchored.order_by(EpochRow.number).limit(NEW_BATCHES_MAX)):
        memo = epochs.epoch_root(epoch).memo
        session.add(
            SettlementBatchRow(id=new_id("batch"), kind="anchor", epoch=epoch.number, memo=memo, created_at=now)
        )
    lookups.plan_growth(session, treasury, mint, now)
    waiting = session.scalars(
        select(PayoutRow)
        .where(PayoutRow.state == "open", PayoutRow.batch_id.is_(None), PayoutRow.account.is_not(None))
        .order_by(PayoutRow.id)
        .limit(NEW_BATCHES_MAX * TABLE_PAYMENTS_MAX)
        .with_for_update(key_share=True)
    ).all()
    accounts = {row.id: associated_token_address(row.wallet_address, mint) for row in waiting}
    tables = lookups.tables_of(session, accounts.values())
    groups: dict[tuple[str | None, bool], list[PayoutRow]] = {}
    for row in waiting:
        new_account = row.account == "missing"
        table = None if new_account else tables.get(accounts[row.id])
        groups.setdefault((table, new_account), []).append(row)
    for (table, new_account), rows in groups.items():
        most = payments_max(tabled=table is not None, new_accounts=new_account)
        for start in range(0, len(rows), most):
            _batch_of(session, rows[start : start + most], table, now)
    for pull in pulls.waiting(session, OPEN_PULLS_MAX):
        pull.batch_id = _new_batch(session, "pull", None, now)
    session.flush()


def _batch_of(session: Session, rows: Sequence[PayoutRow], table_address: str | None, now: datetime) -> None:
    batch_id = _new_batch(session, "payouts", table_address, now)
    for payout in rows:
        payout.batch_id = batch_id
    session.flush()


def _new_batch(session: Session, kind: str, table_address: str | None, now: datetime) -> str:
    batch_id = new_id("batch")
    memo = f"gridbay/{_MEMO_WORDS[kind]}/v1 {batch_id}"
    session.add(SettlementBatchRow(id=batch_id, kind=kind, memo=memo, table_address=table_address, created_at=now))
    session.flush()
    return batch_id


def open_batches(session: Session) -> list[Batch]:
    """What is not done, oldest first."""
    undone = select(SettlementBatchRow).where(SettlementBatchRow.done_at.is_(None)).order_by(SettlementBatchRow.id)
    rows = [
        *session.scalars(undone.where(SettlementBatchRow.kind != "pull").limit(OPEN_BATCHES_MAX)),
        *session.scalars(undone.where(SettlementBatchRow.kind == "pull").limit(OPEN_PULLS_MAX)),
    ]
    return [_batch(session, row) for row in rows]


def sign(
    session: Session,
    batch: Batch,
    signed: SignedTransaction,
    last_valid_block_height: int,
    now: datetime,
    new_table: str | None = None,
) -> bool:
    """Store a signing of a batch that has none before it is sent. False when the batch is no longer what was signed.

    new_table: the address of the table that it makes.
    """
    assert batch.live is None
    row = _lock(session, batch.batch_id)
    if row.done_at is not None or _batch(session, row) != batch:
        return False
    row.table_address = new_table or row.table_address
    session.add(
        SigningRow(
            signature=signed.signature,
            batch_id=batch.batch_id,
            number=batch.signings + 1,
            wire=signed.wire,
            last_valid_block_height=last_valid_block_height,
            signed_at=now,
        )
    )
    session.flush()
    return True


def hold_payment(session: Session, batch: Batch, index: int, detail: str, now: datetime) -> None:
    """Take a payment that the chain refuses out of a batch that nothing is signed for, and hold its wallet."""
    assert batch.live is None
    row = _lock(session, batch.batch_id)
    if row.done_at is not None or _batch(session, row) != batch:
        return
    payout = session.get_one(PayoutRow, batch.payout_ids[index], populate_existing=True)
    returned = payouts.give_back(payout, detail[:DETAIL_MAX_CHARACTERS], now)
    if payout.provider_id is not None:
        wallets.hold(session, payout.provider_id, payout.wallet_address, payout.detail, now)
    session.flush()
    if not _batch(session, row).payments:
        row.done_at = now
    posting.post(session, [returned])


def refuse_pull(session: Session, batch: Batch, detail: str, now: datetime) -> None:
    """Give up a pull that the chain refuses and that nothing is signed for."""
    assert batch.live is None
    row = _lock(session, batch.batch_id)
    if row.done_at is not None or _batch(session, row) != batch:
        return
    pull = session.scalars(_pulled(batch.batch_id)).one()
    row.done_at = now
    pulls.give_back(session, pull, detail[:DETAIL_MAX_CHARACTERS], now)


def split(session: Session, batch: Batch, now: datetime) -> None:
    """Put half of the payments of a batch that nothing is signed for into another: one of them spoils it."""
    assert batch.live is None
    row = _lock(session, batch.batch_id)
    if row.done_at is not None or _batch(session, row) != batch:
        return
    moved = batch.payout_ids[len(batch.payout_ids) // 2 :]
    rows = session.scalars(select(PayoutRow).where(PayoutRow.id.in_(moved)).order_by(PayoutRow.id)).all()
    _batch_of(session, rows, row.table_address, now)


def finalized(
    session: Session, batch_id: str, signature: str, now: datetime, grown: Sequence[str] | None = None
) -> None:
    """The chain has finalized it without error: what it moved is confirmed. grown: what its table holds now."""
    row = _lock(session, batch_id)
    signing = session.get_one(SigningRow, signature, populate_existing=True)
    if signing.outcome is not None:
        return
    signing.outcome, row.done_at = "finalized", now
    if grown is not None and row.table_address is not None:
        lookups.grown(session, lookups.table(session, row.table_address), row.entries or (), grown, now)
    confirmed = session.scalars(
        select(PayoutRow).where(PayoutRow.batch_id == batch_id, PayoutRow.state == "open").order_by(PayoutRow.id)
    ).all()
    transfers = [payouts.confirm(payout, now) for payout in confirmed]
    transfers += [pulls.confirm(session, pull, now) for pull in session.scalars(_pulled(batch_id)).all()]
    session.flush()
    posting.post(session, transfers)


def gone(session: Session, batch_id: str, signature: str, outcome: str, detail: str) -> None:
    """It moved nothing and never will: `failed` (finalized with an error) or `expired`. It may be signed anew."""
    _lock(session, batch_id)
    signing = session.get_one(SigningRow, signature, populate_existing=True)
    if signing.outcome is None:
        signing.outcome, signing.detail = outcome, detail[:DETAIL_MAX_CHARACTERS]
        session.flush()


def _pulled(batch_id: str) -> Select[PullRow]:
    return select(PullRow).where(PullRow.batch_id == batch_id, PullRow.state == "open")


def _lock(session: Session, batch_id: str) -> SettlementBatchRow:
    return session.get_one(SettlementBatchRow, batch_id, with_for_update=True, populate_existing=True)


def _batch(session: Session, row: SettlementBatchRow) -> Batch:
    paid: Sequence[PayoutRow] = session.scalars(
        select(PayoutRow).where(PayoutRow.batch_id == row.id, PayoutRow.state == "open").order_by(PayoutRow.id)
    ).all()
    signings = session.scalars(select(SigningRow).where(SigningRow.batch_id == row.id)).all()
    live = next((signing for signing in signings if signing.outcome is None), None)
    table = lookups.table(session, row.table_address) if row.table_address is not None else None
    pull = session.scalars(_pulled(row.id)).one_or_none() if row.kind == "pull" else None
    return Batch(
        batch_id=row.id,
        kind=row.kind,
        memo=row.memo,
        payout_ids=tuple(payout.id for payout in paid),
        payments=tuple(
            Payment(each.wallet_address, each.amount_microusd - each.rent_microusd, each.account == "missing")
            for each in paid
        ),
        live=Live(live.signature, live.wire, live.last_valid_block_height) if live else None,
        table=table if table is not None and table.entries else None,
        table_address=row.table_address,
        entries=tuple(row.entries or ()),
        signings=len(signings),
        pull=Pull(pull.token_account, pull.amount_microusd) if pull is not None else None,
    )
