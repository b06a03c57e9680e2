"""Newcomers: payouts to wallets without a token account, which their first earnings pay for."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session, aliased

from billing.chains.port import TOKEN_ACCOUNTS_MAX
from billing.ledger import posting
from billing.settling import payouts, wallets
from billing.tables.settlement import PayoutRow, PayoutWalletRow
from infra.settings import Settings
from market.money import format_usdc

LATELY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Unchecked:
    payout_id: str
    wallet_address: str


def unchecked(session: Session) -> list[Unchecked]:
    """Waiting payouts whose token accounts nobody has asked the chain for, one a wallet, oldest first.

    Without those to a wallet whose account another payout is about to make.
    """
    other = aliased(PayoutRow)
    makes = exists().where(
        other.wallet_address == PayoutRow.wallet_address, other.state == "open", other.account == "missing"
    )
    rows = session.execute(
        select(func.min(PayoutRow.id).label("id"), PayoutRow.wallet_address)
        .where(PayoutRow.state == "open", PayoutRow.batch_id.is_(None), PayoutRow.account.is_(None), ~makes)
        .group_by(PayoutRow.wallet_address)
        .order_by(func.min(PayoutRow.id))
        .limit(TOKEN_ACCOUNTS_MAX)
    )
    return [Unchecked(row.id, row.wallet_address) for row in rows]


def checked(
    session: Session,
    asked: Sequence[Unchecked],
    missing: Collection[str],
    treasury: str,
    now: datetime,
    config: Settings,
) -> None:
    """What the chain said of them: who has an account is paid, who has none pays for it, who cannot have one waits."""
    rows = session.scalars(
        select(PayoutRow)
        .where(PayoutRow.id.in_([each.payout_id for each in asked]), PayoutRow.state == "open")
        .where(PayoutRow.batch_id.is_(None), PayoutRow.account.is_(None))
        .order_by(PayoutRow.provider_id, PayoutRow.id)
        .with_for_update()
    ).all()
    missing = set(missing) - _paid_lately(session, missing, now)
    returned = []
    for row in rows:
        reason = _refusal(row, missing, treasury, config)
        if reason is None:
            row.account = "missing" if row.wallet_address in missing else "there"
            row.rent_microusd = config.token_account_rent_microusd if row.account == "missing" else 0
        else:
            returned.append(payouts.give_back(row, reason, now))
            if row.provider_id is None:
                continue
            can_wait = row.wallet_address in missing and wallets.can_own_accounts(row.wallet_address)
            _remember(session, row.provider_id, row.wallet_address, reason, can_wait=can_wait, now=now)
    session.flush()
    posting.post(session, returned)


def _paid_lately(session: Session, addresses: Collection[str], now: datetime) -> set[str]:
    """Who was paid so lately that an RPC which does not know the account must be behind."""
    return set(
        session.scalars(
            select(PayoutRow.wallet_address).where(
                PayoutRow.wallet_address.in_(addresses),
                PayoutRow.state == "confirmed",
                PayoutRow.ended_at > now - LATELY,
            )
        )
    )


def _refusal(row: PayoutRow, missing: Collection[str], treasury: str, config: Settings) -> str | None:
    """Why it cannot be paid now, in words."""
    if row.wallet_address == treasury:
        # A transfer to oneself succeeds and moves nothing.
        return "the wallet is the market's own treasury"
    if row.wallet_address not in missing:
        return None
    if not wallets.can_own_accounts(row.wallet_address):
        return f"{row.wallet_address} has no token account and is no key's address: nobody could use one made for it"
    rent = config.token_account_rent_microusd
    if row.amount_microusd <= rent:
        takes = f"{row.wallet_address} has no token account for this token; making it takes {format_usdc(rent)} USDC"
        if row.provider_id is None:
            return f"{takes}: withdraw more than that, or to a wallet that has one"
        return f"{takes} of what is earned: it is made when that much is"
    return None


def _remember(session: Session, provider_id: str, address: str, reason: str, *, can_wait: bool, now: datetime) -> None:
    wallets.hold(session, provider_id, address, reason, now)
    wallet = session.get_one(PayoutWalletRow, provider_id)
    wallet.account_missing = can_wait and wallet.address == address
