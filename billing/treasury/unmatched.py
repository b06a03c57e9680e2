"""Unmatched money: what came into the treasury and named no deposit, until an operator says whose it is."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from billing.tables.deposits import TreasuryMovementRow
from billing.treasury import custody, deposits
from billing.treasury.arrivals import REMAINDER, Arrival
from billing.treasury.custody import Custody
from billing.treasury.deposits import Deposit
from market.error_codes import Kind
from market.errors import MarketError, NotFound

LISTED_MAX = 1_000


class AlreadyAssigned(MarketError):
    kind, code = Kind.CONFLICT, "already_assigned"


@dataclass(frozen=True, slots=True)
class Movement:
    """amount_microusd: above 0 for what came in; what went out and no payout explains is below, and an alarm."""

    signature: str
    amount_microusd: int
    sender: str | None
    memo: str | None
    seen_at: datetime


def listed(session: Session) -> list[Movement]:
    """What is unexplained, the newest LISTED_MAX, newest first."""
    rows = session.scalars(
        select(TreasuryMovementRow)
        .where(TreasuryMovementRow.deposit_id.is_(None))
        .order_by(TreasuryMovementRow.seen_at.desc(), TreasuryMovementRow.signature)
        .limit(LISTED_MAX)
    )
    return [Movement(row.signature, row.amount_microusd, row.sender, row.memo, row.seen_at) for row in rows]


def assign(session: Session, signature: str, organization_id: str, now: datetime, to: Custody | None = None) -> Deposit:
    """Credit it to an organization, once. Raises NotFound, AlreadyAssigned."""
    row = session.get(TreasuryMovementRow, signature, with_for_update=True, populate_existing=True)
    if row is None or row.amount_microusd < 0:
        raise NotFound("no unmatched deposit has this signature", remedy="list them: gridbay admin deposits list")
    if row.deposit_id is not None:
        raise AlreadyAssigned(f"it was assigned before, as {row.deposit_id}")
    made = deposits.request(session, organization_id, row.amount_microusd, now, to or custody.custody(), bounded=False)
    row.deposit_id = made.deposit_id
    deposits.credit(session, made.deposit_id, [Arrival(signature, REMAINDER, row.amount_microusd)], now)
    return deposits.get(session, organization_id, made.deposit_id)
