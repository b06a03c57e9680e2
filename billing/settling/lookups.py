"""The treasury's lookup tables as rows: who is in them, who is worth an entry, and what was finalized."""

from collections.abc import Collection, Sequence
from datetime import datetime

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from billing.chains.lookup_tables import ENTRIES_PER_TRANSACTION_MAX, TABLE_ENTRIES_MAX, Table
from billing.chains.transactions import associated_token_address
from billing.tables.settlement import (
    LookupEntryRow,
    LookupTableRow,
    PayoutRow,
    PayoutWalletRow,
    SettlementBatchRow,
)
from market.ids import new_id

log = structlog.get_logger(__name__)
WORTH_AFTER_PAYOUTS = 2
"""Payouts after which a wallet gets an entry, which costs a deposit of rent; one that is paid once never needs it."""
WORTH_TOGETHER = 18
"""Wallets from which on a table is begun: fewer fit one transaction without it."""


def tables_of(session: Session, accounts: Collection[str]) -> dict[str, str]:
    """The table in which each of these token accounts is, for those that are in one."""
    rows = session.execute(
        select(LookupEntryRow.account, func.max(LookupEntryRow.table_address).label("address"))
        .join(LookupTableRow, LookupTableRow.address == LookupEntryRow.table_address)
        .where(LookupEntryRow.account.in_(accounts), LookupTableRow.retired_at.is_(None))
        .group_by(LookupEntryRow.account)
    )
    return {row.account: row.address for row in rows}


def table(session: Session, address: str) -> Table:
    """As far as it is finalized; without entries if nothing of it is."""
    entries = session.scalars(
        select(LookupEntryRow.account).where(LookupEntryRow.table_address == address).order_by(LookupEntryRow.position)
    )
    return Table(address, tuple(entries))


def plan_growth(session: Session, treasury: str, mint: str, now: datetime) -> None:
    """Make a batch that gives entries to those who are worth them, one at a time."""
    growing = select(SettlementBatchRow.id).where(
        SettlementBatchRow.kind == "table", SettlementBatchRow.done_at.is_(None)
    )
    if session.scalars(growing.limit(1)).one_or_none() is not None:
        return
    wanted = _worth_an_entry(session, mint)
    newest = session.scalars(
        select(LookupTableRow.address)
        .where(LookupTableRow.retired_at.is_(None))
        .order_by(LookupTableRow.created_at.desc())
        .limit(1)
    ).one_or_none()
    known = table(session, newest).entries if newest is not None else ()
    if not known or len(known) >= TABLE_ENTRIES_MAX:
        if len(wanted) < WORTH_TOGETHER:
            return
        # What every payment names comes first.
        newest, known, wanted = None, (), [mint, associated_token_address(treasury, mint), *wanted]
    entries = wanted[: min(ENTRIES_PER_TRANSACTION_MAX, TABLE_ENTRIES_MAX - len(known))]
    if entries:
        batch_id = new_id("batch")
        memo = f"gridbay/table/v1 {batch_id}"
        row = SettlementBatchRow(
            id=batch_id, kind="table", memo=memo, table_address=newest, entries=entries, created_at=now
        )
        session.add(row)
        session.flush()


def grown(session: Session, known: Table, added: Sequence[str], found: Sequence[str], now: datetime) -> None:
    """Entries were added to what is known of a table. One that holds anything else is used no more."""
    row = session.get(LookupTableRow, known.address)
    if row is None:
        row = LookupTableRow(address=known.address, created_at=now)
        session.add(row)
        session.flush()
    if tuple(found) != (*known.entries, *added):
        row.retired_at = now
        log.error("lookup_table_differs", address=known.address, found=len(found), known=len(known.entries))
    else:
        session.add_all(
            LookupEntryRow(table_address=known.address, position=len(known.entries) + number, account=account)
            for number, account in enumerate(added)
        )
    session.flush()


def _worth_an_entry(session: Session, mint: str) -> list[str]:
    """The token accounts of wallets that are paid again and again and are in no table, the most often paid first."""
    paid = func.count(PayoutRow.id)
    rows = session.execute(
        select(PayoutWalletRow.address, paid)
        .join(PayoutRow, PayoutRow.wallet_address == PayoutWalletRow.address)
        .where(PayoutRow.state == "confirmed")
        .group_by(PayoutWalletRow.address)
        .having(paid >= WORTH_AFTER_PAYOUTS)
        .order_by(paid.desc(), PayoutWalletRow.address)
        .limit(4 * TABLE_ENTRIES_MAX)
    )
    accounts = [associated_token_address(address, mint) for address, _ in rows if address is not None]
    known = tables_of(session, accounts)
    return [account for account in accounts if account not in known]
