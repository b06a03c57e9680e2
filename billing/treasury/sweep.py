"""The sweep: reads the treasury's whole history, so that nothing comes in or goes out unseen."""

from collections.abc import Sequence
from datetime import datetime

import structlog
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from billing.chains.port import ADDRESS_PAGE_MAX, AddressSignature, Chain, ChainError, ChainTransaction
from billing.tables.deposits import DepositCreditRow, DepositRow, TreasuryMovementRow, TreasurySweepRow
from billing.tables.settlement import SigningRow
from billing.treasury import deposits
from billing.treasury.arrivals import arrivals
from billing.treasury.custody import Custody
from infra.database import Database
from market.clock import Clock

log = structlog.get_logger(__name__)
TRANSACTIONS_MAX = 100
"""Transactions that one sweep reads, the oldest first."""
PAGES_MAX = 1_000
MEMO_MAX_CHARACTERS = 200


def sweep(database: Database, chain: Chain, custody: Custody, clock: Clock) -> int:
    """Go on from where the last sweep ended; returns how many transactions were read. An RPC away costs only time."""
    with database.read() as session:
        position = session.get(TreasurySweepRow, custody.token_account)
        since = position.signature if position is not None else None
    read = 0
    try:
        for line in news(chain, custody.token_account, since)[:TRANSACTIONS_MAX]:
            transaction = chain.read_transaction(line.signature)
            if transaction is None:
                break
            with database.transaction() as session:
                note(session, transaction, custody, clock.now())
            read += 1
    except ChainError as error:
        log.warning("treasury_sweep_waits", error=str(error))
    return read


def note(session: Session, transaction: ChainTransaction, custody: Custody, now: datetime) -> None:
    """Credit the deposits that a finalized transaction names; keep what it moved besides, and was not ours."""
    row = insert(TreasurySweepRow).values(account=custody.token_account, signature=transaction.signature, swept_at=now)
    session.execute(
        row.on_conflict_do_update(
            index_elements=["account"], set_={"signature": row.excluded.signature, "swept_at": row.excluded.swept_at}
        )
    )
    if session.get(SigningRow, transaction.signature) is not None:
        # One of ours, payouts or a pull: what it moved the settlement has in its own rows.
        return
    moved = 0 if transaction.failure is not None else transaction.account_delta(custody.token_account)
    if moved > 0:
        moved -= _credited(session, transaction, custody, now)
    if moved == 0:
        return
    sender = next((c.owner for c in transaction.token_changes if (c.after - c.before) * moved < 0), None)
    memo = "; ".join(transaction.memos)[:MEMO_MAX_CHARACTERS] or None
    movement = insert(TreasuryMovementRow).values(
        signature=transaction.signature, amount_microusd=moved, sender=sender, memo=memo, seen_at=now
    )
    session.execute(movement.on_conflict_do_nothing())
    log.warning("treasury_movement_unexplained", signature=transaction.signature, amount_microusd=moved)


def _credited(session: Session, transaction: ChainTransaction, custody: Custody, now: datetime) -> int:
    """What of a transaction is credited to deposits, by now."""
    named = session.execute(
        select(DepositRow.id, DepositRow.reference)
        .where(DepositRow.reference.in_(transaction.account_keys))
        .order_by(DepositRow.id)
    ).all()
    for deposit_id, reference in named:
        found = arrivals(transaction, account=custody.token_account, reference=reference)
        deposits.credit(session, deposit_id, found, now)
    total = select(func.coalesce(func.sum(DepositCreditRow.amount_microusd), 0)).where(
        DepositCreditRow.signature == transaction.signature
    )
    return int(session.scalars(total).one())


def news(chain: Chain, account: str, since: str | None) -> Sequence[AddressSignature]:
    """What the history has above `since`, oldest first."""
    lines: list[AddressSignature] = []
    for _ in range(PAGES_MAX):
        before = lines[-1].signature if lines else None
        page = chain.signatures_for_address(account, until=since, before=before)
        lines += page
        if len(page) < ADDRESS_PAGE_MAX:
            return lines[::-1]
    raise ChainError(f"the history of {account} above {since} is longer than {PAGES_MAX * ADDRESS_PAGE_MAX}")
