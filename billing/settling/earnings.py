"""What a provider has earned: waiting, on its way, and paid; and where to."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from billing.charging import adjustments
from billing.ledger import accounts, posting
from billing.tables.settlement import PayoutRow, PayoutWalletRow


@dataclass(frozen=True, slots=True)
class Earnings:
    """wallet_address: None while nothing can be sent; payable_from: the end of its cool-down.

    rent_microusd: what of the paid was kept for making token accounts; held: why the chain cannot pay the wallet.
    reversed_microusd: what adjustments took back of the earnings; owed_microusd: what of it is still to be taken.
    """

    payable_microusd: int
    paying_microusd: int
    paid_microusd: int
    rent_microusd: int
    wallet_address: str | None
    payable_from: datetime | None
    threshold_microusd: int | None
    every_seconds: int | None
    held: str
    reversed_microusd: int = 0
    owed_microusd: int = 0


def of_provider(session: Session, provider_id: str) -> Earnings:
    """All zero for a provider that never earned."""
    names = accounts.payable(provider_id), accounts.paying(provider_id)
    found = posting.balances(session, names)
    confirmed = select(
        func.coalesce(func.sum(PayoutRow.amount_microusd - PayoutRow.rent_microusd), 0),
        func.coalesce(func.sum(PayoutRow.rent_microusd), 0),
    ).where(PayoutRow.provider_id == provider_id, PayoutRow.state == "confirmed")
    paid, rent = session.execute(confirmed).one()
    wallet = session.get(PayoutWalletRow, provider_id)
    reversed_, owed = adjustments.of_provider(session, provider_id)
    return Earnings(
        payable_microusd=found[names[0]],
        paying_microusd=found[names[1]],
        paid_microusd=int(paid),
        rent_microusd=int(rent),
        wallet_address=wallet.address if wallet else None,
        payable_from=wallet.payable_from if wallet and wallet.address else None,
        threshold_microusd=wallet.threshold_microusd if wallet else None,
        every_seconds=wallet.every_seconds if wallet else None,
        held=wallet.held_reason if wallet else "",
        reversed_microusd=reversed_,
        owed_microusd=owed,
    )
