"""Payouts: a provider's payable balance set on its way, and what became of it."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.orm import Session

from billing.ledger import accounts, posting
from billing.tables.ledger import AccountRow
from billing.tables.settlement import PayoutRow, PayoutWalletRow, SigningRow
from infra.settings import Settings
from market.ids import new_id

OPENED_MAX = 500
LISTED_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Payout:
    """state: `open`, `confirmed` (finalized on the chain) or `returned`; signature: once confirmed."""

    payout_id: str
    provider_id: str
    wallet_address: str
    amount_microusd: int
    state: str
    detail: str
    signature: str | None


def open_due(
    session: Session, epoch: int | None, now: datetime, config: Settings, quiet_since: datetime | None = None
) -> int:
    """Move what is payable to paying, for every provider with a wallet and the least amount; returns how many.

    quiet_since: leave out whose wallet changed, or who had a payout made, after that time.
    """
    payable = func.concat("provider:", PayoutWalletRow.provider_id, ":payable")
    candidates = (
        select(PayoutWalletRow.provider_id, PayoutWalletRow.address)
        .join(AccountRow, AccountRow.id == payable)
        .where(AccountRow.balance_microusd >= config.payout_min_microusd, PayoutWalletRow.address.is_not(None))
        .order_by(PayoutWalletRow.provider_id)
        .limit(OPENED_MAX)
    )
    if quiet_since is not None:
        recent = exists().where(
            PayoutRow.provider_id == PayoutWalletRow.provider_id, PayoutRow.created_at > quiet_since
        )
        candidates = candidates.where(PayoutWalletRow.changed_at <= quiet_since, ~recent)
    wallets = {row.provider_id: row.address for row in session.execute(candidates)}
    names = [name(provider_id) for provider_id in wallets for name in (accounts.payable, accounts.paying)]
    balances = posting.lock(session, names) if names else {}
    opened = [
        PayoutRow(
            id=new_id("pay"),
            provider_id=provider_id,
            wallet_address=address,
            amount_microusd=balances[accounts.payable(provider_id)],
            epoch=epoch,
            created_at=now,
        )
        for provider_id, address in wallets.items()
        if balances[accounts.payable(provider_id)] >= config.payout_min_microusd
    ]
    session.add_all(opened)
    session.flush()
    posting.post(session, [_moved(f"payout:{row.id}", row, -row.amount_microusd) for row in opened])
    return len(opened)


def confirm(row: PayoutRow, now: datetime) -> posting.Transfer:
    """The chain has finalized it: the money has left custody."""
    row.state, row.ended_at = "confirmed", now
    amount = row.amount_microusd
    return posting.Transfer(f"paid:{row.id}", {accounts.paying(row.provider_id): -amount, accounts.TREASURY: amount})


def give_back(row: PayoutRow, detail: str, now: datetime) -> posting.Transfer:
    """The wallet cannot take it: the money is payable again, and the next close tries again."""
    row.state, row.ended_at, row.detail, row.batch_id = "returned", now, detail, None
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
            provider_id=row.provider_id,
            wallet_address=row.wallet_address,
            amount_microusd=row.amount_microusd,
            state=row.state,
            detail=row.detail,
            signature=signature,
        )
        for row, signature in rows
    ]


def _moved(key: str, row: PayoutRow, to_payable: int) -> posting.Transfer:
    names = accounts.payable(row.provider_id), accounts.paying(row.provider_id)
    return posting.Transfer(key, {names[0]: to_payable, names[1]: -to_payable})
