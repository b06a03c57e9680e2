"""What a provider has earned: waiting, on its way, and paid."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from billing import accounts, ledger
from billing.tables.settlement import PayoutRow


@dataclass(frozen=True, slots=True)
class Earnings:
    payable_microusd: int
    paying_microusd: int
    paid_microusd: int


def of_provider(session: Session, provider_id: str) -> Earnings:
    """All zero for a provider that never earned."""
    names = accounts.payable(provider_id), accounts.paying(provider_id)
    found = ledger.balances(session, names)
    confirmed = select(func.coalesce(func.sum(PayoutRow.amount_microusd), 0)).where(
        PayoutRow.provider_id == provider_id, PayoutRow.state == "confirmed"
    )
    return Earnings(found[names[0]], found[names[1]], int(session.scalars(confirmed).one()))
