"""Adjustments: a posted line is never changed; a transfer that names it gives a part of it back.

The customer has the money at once. The provider's share comes out of what is payable to it; what was paid out already
is laid out by the platform's fees and taken from the provider's next earnings, before they are paid (ADR 0012).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from billing.ledger import accounts, posting
from billing.ledger.posting import Transfer
from billing.tables.adjustments import AdjustmentRow
from billing.tables.bills import UsageLineRow
from infra.wakeups import after_commit
from market.error_codes import Kind
from market.errors import Conflict, MarketError, NotFound
from market.ids import new_id
from market.money import Split, format_usdc, reversal_split

RECOVERED_MAX = 1_000
"""Debts that one pass takes from earnings."""
LISTED_MAX = 1_000
OPERATOR = "operator"


class Bearer(StrEnum):
    """At whose cost the provider's share of a line is given back."""

    PROVIDER = "provider"
    PLATFORM = "platform"


class ReserveShort(MarketError):
    kind, code = Kind.CONFLICT, "reserve_short"


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A part of a line that was given back, and to whose cost.

    owed_microusd: what the provider had been paid already and owes; recovered_microusd: what it has made good of that.
    """

    adjustment_id: str
    line_id: str
    job_id: str
    organization_id: str
    provider_id: str
    amount_microusd: int
    split: Split
    owed_microusd: int
    recovered_microusd: int
    cause: str
    reason: str
    adjusted_at: datetime


def reverse(
    session: Session,
    line_id: str,
    amount_microusd: int | None,
    *,
    reason: str,
    by: str,
    now: datetime,
    cause: str = OPERATOR,
    bearer: Bearer = Bearer.PROVIDER,
) -> Adjustment:
    """Give so much of a line back (None: all that is left of it).

    Raises NotFound, Conflict for more than is left, ReserveShort when the fees do not cover what was paid out already.
    """
    line = session.scalar(select(UsageLineRow).where(UsageLineRow.id == line_id).with_for_update(key_share=True))
    if line is None:
        raise NotFound(f"there is no line {line_id}")
    before, count = session.execute(
        select(func.coalesce(func.sum(AdjustmentRow.amount_microusd), 0), func.count()).where(
            AdjustmentRow.line_id == line_id
        )
    ).one()
    left = line.amount_microusd - int(before)
    wanted = left if amount_microusd is None else amount_microusd
    if not 0 < wanted <= left:
        raise Conflict(
            f"{format_usdc(wanted)} USDC cannot be taken from {line_id}: {format_usdc(left)} of its "
            f"{format_usdc(line.amount_microusd)} USDC are left",
            remedy="say less; `gridbay admin adjustments` lists what was given back",
        )
    split = reversal_split(_split_of(line), int(before), wanted)
    row = _row(line, count + 1, split, cause=cause, reason=reason, by=by, now=now)
    _post(session, row, bearer)
    session.add(row)
    session.flush()
    after_commit(session, f"job:{row.job_id}", f"organization:{row.organization_id}")
    return _view(row)


def left_of(session: Session, line_id: str) -> int:
    """What of a line's amount was not given back."""
    given = select(func.coalesce(func.sum(AdjustmentRow.amount_microusd), 0)).where(AdjustmentRow.line_id == line_id)
    return session.get_one(UsageLineRow, line_id).amount_microusd - int(session.scalar(given) or 0)


def recover(session: Session) -> int:
    """Take what providers owe from what is payable to them, oldest debt first; returns how many debts shrank."""
    debts = session.scalars(
        select(AdjustmentRow)
        .where(AdjustmentRow.recovered_microusd < AdjustmentRow.owed_microusd)
        .order_by(AdjustmentRow.provider_id, AdjustmentRow.id)
        .limit(RECOVERED_MAX)
        .with_for_update(key_share=True)
    ).all()
    if not debts:
        return 0
    names = [accounts.FEES, *(accounts.payable(debt.provider_id) for debt in debts)]
    balances = posting.lock(session, names)
    transfers = []
    for debt in debts:
        payable = accounts.payable(debt.provider_id)
        taken = min(balances[payable], debt.owed_microusd - debt.recovered_microusd)
        if taken > 0:
            key = f"recover:{debt.id}:{debt.recovered_microusd}"
            transfers.append(Transfer(key, {payable: -taken, accounts.FEES: taken}))
            balances[payable] -= taken
            debt.recovered_microusd += taken
    session.flush()
    posting.post(session, transfers, locked=balances)
    return len(transfers)


def of_jobs(session: Session, job_ids: Sequence[str]) -> list[Adjustment]:
    """In the order in which they were made."""
    wanted = select(AdjustmentRow).where(AdjustmentRow.job_id.in_(job_ids))
    return _views(
        session.scalars(wanted.order_by(AdjustmentRow.adjusted_at, AdjustmentRow.line_id, AdjustmentRow.number))
    )


def newest(session: Session, limit: int = LISTED_MAX) -> list[Adjustment]:
    """Of the whole market, newest first."""
    return _views(
        session.scalars(
            select(AdjustmentRow).order_by(AdjustmentRow.adjusted_at.desc(), AdjustmentRow.id.desc()).limit(limit)
        )
    )


def of_provider(session: Session, provider_id: str) -> tuple[int, int]:
    """What of a provider's earnings was taken back so far, and what it still owes."""
    reversed_, owed = session.execute(
        select(
            func.coalesce(func.sum(AdjustmentRow.provider_microusd - AdjustmentRow.borne_microusd), 0),
            func.coalesce(func.sum(AdjustmentRow.owed_microusd - AdjustmentRow.recovered_microusd), 0),
        ).where(AdjustmentRow.provider_id == provider_id)
    ).one()
    return int(reversed_), int(owed)


def _post(session: Session, row: AdjustmentRow, bearer: Bearer) -> None:
    """Post the reversal; the row learns what of it the provider owes."""
    available, payable = accounts.available(row.organization_id), accounts.payable(row.provider_id)
    balances = posting.lock(session, [available, payable, accounts.FEES, accounts.ROUNDING])
    taken = 0
    if bearer is Bearer.PLATFORM:
        row.borne_microusd = row.provider_microusd
    else:
        taken = min(row.provider_microusd, balances[payable])
        row.owed_microusd = row.provider_microusd - taken
    laid_out = row.fee_microusd + row.owed_microusd + row.borne_microusd
    if laid_out > balances[accounts.FEES]:
        raise ReserveShort(
            f"the platform's fees would have to lay out {format_usdc(laid_out)} USDC of it, and hold "
            f"{format_usdc(balances[accounts.FEES])} USDC"
        )
    entries = {
        available: row.amount_microusd,
        payable: -taken,
        accounts.FEES: -laid_out,
        accounts.ROUNDING: -row.rounding_microusd,
    }
    posting.post(session, [Transfer(f"adjust:{row.id}", entries)], locked=balances)


def _split_of(line: UsageLineRow) -> Split:
    return Split(line.provider_microusd, line.fee_microusd, line.rounding_microusd)


def _row(
    line: UsageLineRow, number: int, split: Split, *, cause: str, reason: str, by: str, now: datetime
) -> AdjustmentRow:
    return AdjustmentRow(
        id=new_id("adj"),
        line_id=line.id,
        number=number,
        job_id=line.job_id,
        organization_id=line.organization_id,
        provider_id=line.provider_id,
        amount_microusd=split.provider_microusd + split.fee_microusd + split.rounding_microusd,
        provider_microusd=split.provider_microusd,
        fee_microusd=split.fee_microusd,
        rounding_microusd=split.rounding_microusd,
        owed_microusd=0,
        borne_microusd=0,
        recovered_microusd=0,
        cause=cause,
        reason=reason,
        by=by,
        adjusted_at=now,
    )


def _views(rows: Iterable[AdjustmentRow]) -> list[Adjustment]:
    return [_view(row) for row in rows]


def _view(row: AdjustmentRow) -> Adjustment:
    return Adjustment(
        adjustment_id=row.id,
        line_id=row.line_id,
        job_id=row.job_id,
        organization_id=row.organization_id,
        provider_id=row.provider_id,
        amount_microusd=row.amount_microusd,
        split=Split(row.provider_microusd, row.fee_microusd, row.rounding_microusd),
        owed_microusd=row.owed_microusd,
        recovered_microusd=row.recovered_microusd,
        cause=row.cause,
        reason=row.reason,
        adjusted_at=row.adjusted_at,
    )
