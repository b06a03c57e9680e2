"""The organizations' shares: who is entitled to what beside others, where it is not the usual."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from infra.outbox import wake
from scheduler.placement.queue.waiting import Account
from scheduler.tables import OrganizationShare
from scheduler.waking import PLACE

LISTED_MAX = 1000


def listed(session: Session) -> Sequence[OrganizationShare]:
    """By organization."""
    return session.scalars(
        select(OrganizationShare).order_by(OrganizationShare.organization_id).limit(LISTED_MAX)
    ).all()


def put(session: Session, organization_id: str, account: Account, now: datetime) -> None:
    """From the next round on; what it holds it keeps, even above a new ceiling. The usual share leaves no row."""
    if account == Account():
        session.execute(delete(OrganizationShare).where(OrganizationShare.organization_id == organization_id))
    else:
        amounts = {
            "weight_milli": account.weight_milli,
            "quota_gpus": account.quota_gpus,
            "ceiling_gpus": account.ceiling_gpus,
            "changed_at": now,
        }
        statement = insert(OrganizationShare).values(organization_id=organization_id, **amounts)
        session.execute(statement.on_conflict_do_update(index_elements=["organization_id"], set_=amounts))
    wake(session, PLACE)
