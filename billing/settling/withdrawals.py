"""Withdrawals: what a customer takes back of its available balance, sent to a wallet of its own as a payout, once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import Select, exists, func, select
from sqlalchemy.orm import Session

from billing.ledger import accounts, posting
from billing.settling import payouts, wallets
from billing.tables.settlement import PayoutRow, SigningRow, WithdrawalRow
from infra.settings import Settings
from market.error_codes import Kind
from market.errors import Conflict, FieldError, InsufficientFunds, InvalidInput, MarketError, NotFound
from market.ids import new_id
from market.money import format_usdc

log = structlog.get_logger(__name__)
WAITING_MAX = 20
"""Withdrawals of one organization that are not on their way yet."""
OPENED_MAX = 100
LISTED_MAX = 1_000
_WAITS = (WithdrawalRow.payout_id.is_(None), WithdrawalRow.cancelled_at.is_(None))


class TooManyWithdrawals(MarketError):
    kind, code = Kind.TOO_MANY, "too_many_withdrawals"


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """state: `waiting` (until payable_from, then for room under the daily caps), `sending`, and in the end `confirmed`,
    `returned` (the chain refuses the wallet; available again, detail says why) or `cancelled`.

    rent_microusd: what of the amount is kept for making the wallet's token account; signature: once confirmed.
    """

    withdrawal_id: str
    wallet_address: str
    amount_microusd: int
    rent_microusd: int
    state: str
    created_at: datetime
    payable_from: datetime
    detail: str
    signature: str | None


def request(
    session: Session,
    organization_id: str,
    amount_microusd: int,
    wallet_address: str,
    *,
    treasury: str,
    now: datetime,
    config: Settings,
) -> Withdrawal:
    """Take it out of what is available and set it on its way. Raises InvalidInput, InsufficientFunds,
    TooManyWithdrawals.

    A wallet that nothing of this organization was ever paid to waits for the cool-down first: time to see a theft, and
    to cancel it.
    """
    wallets.require_address(wallet_address)
    if wallet_address == treasury:
        raise _wrong("/wallet_address", "this is the market's own treasury, not a wallet of yours")
    _require_possible(amount_microusd, config)
    names = accounts.available(organization_id), accounts.withdrawing(organization_id)
    # Before the count, so that two requests at once see each other.
    available = posting.lock(session, names)[names[0]]
    waiting = select(func.count()).where(WithdrawalRow.organization_id == organization_id, *_WAITS)
    if session.scalars(waiting).one() >= WAITING_MAX:
        raise TooManyWithdrawals(f"{WAITING_MAX} withdrawals of this organization wait already")
    if amount_microusd > available:
        raise InsufficientFunds(
            f"{format_usdc(available)} USDC are available, not {format_usdc(amount_microusd)}",
            remedy="withdraw what is available; what is held for jobs is free when they end: gridbay balance",
        )
    known = exists().where(
        PayoutRow.organization_id == organization_id,
        PayoutRow.wallet_address == wallet_address,
        PayoutRow.state == "confirmed",
    )
    cooldown = timedelta(seconds=0 if session.scalar(select(known)) else config.wallet_cooldown_seconds)
    row = WithdrawalRow(
        id=new_id("wdr"),
        organization_id=organization_id,
        wallet_address=wallet_address,
        amount_microusd=amount_microusd,
        created_at=now,
        payable_from=now + cooldown,
    )
    session.add(row)
    session.flush()
    posting.post(session, [_moved(f"withdrawal:{row.id}", row, -amount_microusd)], locked=names)
    return get(session, organization_id, row.id)


def cancel(session: Session, organization_id: str, withdrawal_id: str, now: datetime) -> Withdrawal:
    """Give back what is not on its way yet; cancelled before is well. Raises NotFound, Conflict."""
    row = session.get(WithdrawalRow, withdrawal_id, with_for_update=True, populate_existing=True)
    if row is None or row.organization_id != organization_id:
        raise NotFound("there is no such withdrawal here")
    if row.payout_id is not None:
        raise Conflict(
            f"{withdrawal_id} is on its way already", remedy=f"see: gridbay withdrawals show {withdrawal_id}"
        )
    if row.cancelled_at is None:
        row.cancelled_at = now
        session.flush()
        posting.post(session, [_moved(f"cancelled:{row.id}", row, row.amount_microusd)])
    return get(session, organization_id, withdrawal_id)


def open_due(session: Session, now: datetime, config: Settings) -> int:
    """Make payouts of those whose cool-down is over, in their order, as far as the daily caps let; returns how many."""
    due = select(WithdrawalRow).where(*_WAITS, WithdrawalRow.payable_from <= now)
    due = due.order_by(WithdrawalRow.payable_from, WithdrawalRow.id).limit(OPENED_MAX)
    if session.scalars(due.limit(1)).one_or_none() is None:
        return 0
    room, opened = payouts.lock_room(session, now, config), 0
    full: set[str] = set()
    for row in session.scalars(due.with_for_update().execution_options(populate_existing=True)).all():
        own = PayoutRow.organization_id == row.organization_id
        own_room = config.payout_organization_daily_max_microusd - payouts.opened_lately(session, now, own)
        if row.amount_microusd > room:
            # Whoever comes later waits too: a large one would else never find room.
            log.warning("payout_daily_cap_reached", cap_microusd=config.payout_daily_max_microusd)
            break
        if row.organization_id in full or row.amount_microusd > own_room:
            full.add(row.organization_id)
            continue
        payout = PayoutRow(
            id=new_id("pay"),
            organization_id=row.organization_id,
            wallet_address=row.wallet_address,
            amount_microusd=row.amount_microusd,
            created_at=now,
        )
        session.add(payout)
        session.flush()
        row.payout_id, room, opened = payout.id, room - row.amount_microusd, opened + 1
    session.flush()
    return opened


def get(session: Session, organization_id: str, withdrawal_id: str) -> Withdrawal:
    """Raises NotFound, also for a withdrawal of somebody else."""
    own = WithdrawalRow.organization_id == organization_id
    found = _read(session, _joined().where(own, WithdrawalRow.id == withdrawal_id))
    if not found:
        raise NotFound("there is no such withdrawal here")
    return found[0]


def of_organization(session: Session, organization_id: str) -> Sequence[Withdrawal]:
    """The newest LISTED_MAX of them, newest first."""
    own = _joined().where(WithdrawalRow.organization_id == organization_id)
    return _read(session, own.order_by(WithdrawalRow.id.desc()).limit(LISTED_MAX))


def _require_possible(amount_microusd: int, config: Settings) -> None:
    least = config.payout_min_microusd
    most = min(config.payout_organization_daily_max_microusd, config.payout_daily_max_microusd)
    if amount_microusd < least:
        raise _wrong("/amount_microusd", f"less than {format_usdc(least)} USDC is not sent")
    if amount_microusd > most:
        raise _wrong("/amount_microusd", f"at most {format_usdc(most)} USDC are sent in 24 hours: withdraw it in parts")


def _wrong(pointer: str, detail: str) -> InvalidInput:
    return InvalidInput(detail, errors=[FieldError(pointer, detail, "out_of_range")])


def _moved(key: str, row: WithdrawalRow, to_available: int) -> posting.Transfer:
    names = accounts.available(row.organization_id), accounts.withdrawing(row.organization_id)
    return posting.Transfer(key, {names[0]: to_available, names[1]: -to_available})


def _joined() -> Select[WithdrawalRow, PayoutRow, str]:
    final = (SigningRow.batch_id == PayoutRow.batch_id) & (SigningRow.outcome == "finalized")
    return (
        select(WithdrawalRow, PayoutRow, SigningRow.signature)
        .outerjoin(PayoutRow, PayoutRow.id == WithdrawalRow.payout_id)
        .outerjoin(SigningRow, final)
    )


def _read(session: Session, query: Select[WithdrawalRow, PayoutRow, str]) -> list[Withdrawal]:
    return [_withdrawal(row, payout, signature) for row, payout, signature in session.execute(query)]


def _withdrawal(row: WithdrawalRow, payout: PayoutRow | None, signature: str | None) -> Withdrawal:
    if payout is None:
        state = "waiting" if row.cancelled_at is None else "cancelled"
    else:
        state = "sending" if payout.state == "open" else payout.state
    return Withdrawal(
        withdrawal_id=row.id,
        wallet_address=row.wallet_address,
        amount_microusd=row.amount_microusd,
        rent_microusd=payout.rent_microusd if payout is not None else 0,
        state=state,
        created_at=row.created_at,
        payable_from=row.payable_from,
        detail=payout.detail if payout is not None else "",
        signature=signature,
    )
