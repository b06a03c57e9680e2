"""Payouts: a provider's payable balance, or a withdrawal, set on its way, and what became of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Select, exists, func, or_, select
from sqlalchemy.orm import Session

from billing.charging import adjustments
from billing.ledger import accounts, posting
from billing.settling.payout_terms import DAY, Candidate, amount_due
from billing.tables.ledger import AccountRow
from billing.tables.settlement import PayoutRow, PayoutWalletRow, SigningRow
from infra.settings import Settings
from market.ids import new_id

log = structlog.get_logger(__name__)
_OPENING = 0x67726964_0003
OPENED_MAX = 500
LISTED_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Payout:
    """state: `open`, `confirmed` (finalized on the chain) or `returned`; signature: once confirmed.

    rent_microusd: the part of the amount that was kept for making the wallet's token account.
    """

    payout_id: str
    provider_id: str
    wallet_address: str
    amount_microusd: int
    rent_microusd: int
    state: str
    detail: str
    signature: str | None


def open_due(
    session: Session, epoch: int | None, now: datetime, config: Settings, quiet_since: datetime | None = None
) -> int:
    """Move what is payable to paying, for every provider whose turn it is by its terms; returns how many.

    quiet_since: leave out whose wallet changed, or who had a payout made, after that time.
    """
    room = lock_room(session, now, config)
    adjustments.recover(session)
    amounts: dict[str, tuple[str, int]] = {}
    for candidate in _candidates(session, now, config, quiet_since):
        amount = amount_due(candidate, room, now, config)
        if amount:
            amounts[candidate.provider_id] = candidate.address, amount
            room -= amount
    names = [name(provider_id) for provider_id in amounts for name in (accounts.payable, accounts.paying)]
    balances = posting.lock(session, names) if names else {}
    opened = [
        PayoutRow(
            id=new_id("pay"),
            provider_id=provider_id,
            wallet_address=address,
            amount_microusd=amount,
            epoch=epoch,
            created_at=now,
        )
        for provider_id, (address, amount) in amounts.items()
        if balances[accounts.payable(provider_id)] >= amount
    ]
    session.add_all(opened)
    session.flush()
    posting.post(session, [_moved(f"payout:{row.id}", row, -row.amount_microusd) for row in opened])
    if room < config.payout_min_microusd:
        log.warning("payout_daily_cap_reached", cap_microusd=config.payout_daily_max_microusd)
    return len(opened)


def lock_room(session: Session, now: datetime, config: Settings) -> int:
    """What the market's daily cap leaves, in micro-USDC; until the transaction ends nobody else opens payouts."""
    session.execute(select(func.pg_advisory_xact_lock(_OPENING)))
    return config.payout_daily_max_microusd - opened_lately(session, now)


def opened_lately(session: Session, now: datetime, *conditions: ColumnElement[bool]) -> int:
    """The micro-USDC of payouts of the last 24 hours that were not returned."""
    today = PayoutRow.created_at > now - DAY, PayoutRow.state != "returned"
    return int(session.scalars(_total().where(*today, *conditions)).one())


def _candidates(session: Session, now: datetime, config: Settings, quiet_since: datetime | None) -> Iterator[Candidate]:
    """Who might be paid, who waits longest first."""
    wallet = PayoutWalletRow
    own = PayoutRow.provider_id == wallet.provider_id
    last = select(func.max(PayoutRow.created_at)).where(own).scalar_subquery()
    today = _total().where(own, PayoutRow.created_at > now - DAY, PayoutRow.state != "returned").scalar_subquery()
    held_before = now - timedelta(seconds=config.payout_hold_seconds)
    query = (
        select(wallet, AccountRow.balance_microusd, last, today)
        .join(AccountRow, AccountRow.id == func.concat("provider:", wallet.provider_id, ":payable"))
        .where(
            AccountRow.balance_microusd >= func.greatest(config.payout_min_microusd, wallet.threshold_microusd),
            wallet.address.is_not(None),
            wallet.payable_from <= now,
            or_(wallet.held_at.is_(None), wallet.held_at <= held_before, wallet.account_missing),
        )
        .order_by(last.asc().nulls_first(), wallet.provider_id)
        .limit(OPENED_MAX)
    )
    if quiet_since is not None:
        query = query.where(wallet.changed_at <= quiet_since, ~exists().where(own, PayoutRow.created_at > quiet_since))
    for row, payable, last_opened_at, opened_today in session.execute(query):
        yield Candidate(
            provider_id=row.provider_id,
            address=row.address or "",
            payable_microusd=payable,
            payable_from=row.payable_from,
            held_at=row.held_at,
            account_missing=row.account_missing,
            threshold_microusd=row.threshold_microusd,
            every_seconds=row.every_seconds,
            last_opened_at=last_opened_at,
            opened_today_microusd=int(opened_today),
        )


def _total() -> Select[tuple[Any]]:
    return select(func.coalesce(func.sum(PayoutRow.amount_microusd), 0))


def confirm(row: PayoutRow, now: datetime) -> posting.Transfer:
    """The chain has finalized it: the money has left custody."""
    row.state, row.ended_at = "confirmed", now
    entries = {
        _sides(row)[1]: -row.amount_microusd,
        accounts.TREASURY: row.amount_microusd - row.rent_microusd,
        accounts.RENT: row.rent_microusd,
    }
    return posting.Transfer(f"paid:{row.id}", entries)


def give_back(row: PayoutRow, detail: str, now: datetime) -> posting.Transfer:
    """The wallet cannot take it: the money is its owner's again. A provider's is tried again by the next close."""
    row.state, row.ended_at, row.detail, row.batch_id, row.rent_microusd = "returned", now, detail, None, 0
    return _moved(f"returned:{row.id}", row, row.amount_microusd)


def of_epoch(session: Session, epoch: int) -> list[Payout]:
    """The payouts that an epoch's close opened, newest first."""
    return _listed(session, PayoutRow.epoch == epoch)


def of_provider(session: Session, provider_id: str) -> list[Payout]:
    """The newest LISTED_MAX of them, newest first."""
    return _listed(session, PayoutRow.provider_id == provider_id)


def _listed(session: Session, condition: ColumnElement[bool]) -> list[Payout]:
    rows = session.execute(
        select(PayoutRow, SigningRow.signature)
        .outerjoin(SigningRow, (SigningRow.batch_id == PayoutRow.batch_id) & (SigningRow.outcome == "finalized"))
        .where(condition)
        .order_by(PayoutRow.id.desc())
        .limit(LISTED_MAX)
    )
    return [
        Payout(
            payout_id=row.id,
            provider_id=row.provider_id or "",
            wallet_address=row.wallet_address,
            amount_microusd=row.amount_microusd,
            rent_microusd=row.rent_microusd,
            state=row.state,
            detail=row.detail,
            signature=signature,
        )
        for row, signature in rows
    ]


def _moved(key: str, row: PayoutRow, to_owner: int) -> posting.Transfer:
    names = _sides(row)
    return posting.Transfer(key, {names[0]: to_owner, names[1]: -to_owner})


def _sides(row: PayoutRow) -> tuple[str, str]:
    """The accounts of its owner: where the money is from, and where it is while it is on its way."""
    if row.provider_id is not None:
        return accounts.payable(row.provider_id), accounts.paying(row.provider_id)
    assert row.organization_id is not None
    return accounts.available(row.organization_id), accounts.withdrawing(row.organization_id)
