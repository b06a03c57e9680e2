"""The first identities of an embedded market: one organization, one provider, one operator, and their credentials."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session

import scheduler.supply.providers
from market.ids import new_id
from portal_api.identity import tokens
from portal_api.identity.tables import Organization
from portal_api.identity.tokens import Role, TokenKind


class LocalCredentials(BaseModel):
    """What `gridbay process migrate` writes to credentials.json, for the commands on this machine."""

    model_config = ConfigDict(frozen=True)

    customer_token: str
    organization_id: str
    provider_id: str
    join_token: str
    provider_token: str
    operator_token: str


def bootstrap(session: Session, now: datetime) -> LocalCredentials:
    """Make them. The join token stays good for this machine's agent, however often its state is made anew."""
    organization = create_organization(session, "local", now)
    provider = scheduler.supply.providers.create(session, "local", now)
    join = tokens.issue(session, TokenKind.JOIN, now, name="this machine", provider_id=provider.id)
    earn = tokens.issue(session, TokenKind.PROVIDER, now, name="this machine", provider_id=provider.id)
    operate = tokens.issue(session, TokenKind.OPERATOR, now, name="this machine")
    customer = tokens.issue(
        session,
        TokenKind.CUSTOMER,
        now,
        name="this machine",
        organization_id=organization.id,
        role=Role.OWNER,
    )
    return LocalCredentials(
        customer_token=customer.text,
        organization_id=organization.id,
        provider_id=provider.id,
        join_token=join.text,
        provider_token=earn.text,
        operator_token=operate.text,
    )


def create_organization(session: Session, name: str, now: datetime) -> Organization:
    """A new customer tenant."""
    organization = Organization(id=new_id("org"), name=name, created_at=now)
    session.add(organization)
    session.flush()
    return organization
