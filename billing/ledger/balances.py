"""What an organization has: to spend, and set aside."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from billing.ledger import accounts, posting


@dataclass(frozen=True, slots=True)
class Balance:
    available_microusd: int
    held_microusd: int


def of_organization(session: Session, organization_id: str) -> Balance:
    """Zero of both for an organization that never deposited."""
    names = (accounts.available(organization_id), accounts.held(organization_id))
    found = posting.balances(session, names)
    return Balance(found[names[0]], found[names[1]])
