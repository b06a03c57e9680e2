"""What an organization has: to spend or withdraw now, and pending."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from billing.ledger import accounts, posting
from billing.tables.deposits import DepositRow


@dataclass(frozen=True, slots=True)
class Balance:
    """available: to spend or withdraw now. The rest is pending: held for jobs, withdrawn and not yet with its owner,
    arriving, which is what was seen on the chain and is not final, so that no ledger has it."""

    available_microusd: int
    held_microusd: int
    withdrawing_microusd: int
    arriving_microusd: int

    @property
    def pending_microusd(self) -> int:
        return self.held_microusd + self.withdrawing_microusd + self.arriving_microusd


def of_organization(session: Session, organization_id: str) -> Balance:
    """Zero of all for an organization that never deposited."""
    available, held = accounts.available(organization_id), accounts.held(organization_id)
    withdrawing = accounts.withdrawing(organization_id)
    found = posting.balances(session, [available, held, withdrawing])
    arriving = select(func.coalesce(func.sum(DepositRow.arriving_microusd), 0)).where(
        DepositRow.organization_id == organization_id
    )
    return Balance(found[available], found[held], found[withdrawing], int(session.scalars(arriving).one()))
