"""What a provider has earned: waiting, on its way, and paid; and where to."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from billing.ledger import accounts, posting
from billing.tables.settlement import PayoutRow, PayoutWalletRow


@dataclass(frozen=True, slots=True)
class Earnings:
    """wallet_address: None while nothing can be sent."""

    payable_microusd: int
    paying_microusd: int
    paid_microusd: int
    wallet_address: str | None


def of_provider(session: Session, provider_id: str) -> Earnings:
    """All zero for a provider that never earned."""
    names = accounts.payable(provider_id), accounts.paying(provider_id)
    found = posting.balances(session, names)
    confirmed = select(func.coalesce(func.sum(PayoutRow.amount_microusd), 0)).where(
        PayoutRow.provider_id == provider_id, PayoutRow.state == "confirmed"
    )
    wallet = session.get(PayoutWalletRow, provider_id)
    return Earnings(
        payable_microusd=found[names[0]],
        paying_microusd=found[names[1]],
        paid_microusd=int(session.scalars(confirmed).one()),
        wallet_address=wallet.address if wallet else None,
    )
