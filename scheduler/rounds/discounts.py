"""The organizations' discounts: said by operators, taken off what offers ask, frozen with the price of each lease."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from infra.outbox import wake
from infra.settings import Settings, settings
from infra.statements import Statement
from market.errors import InvalidInput
from scheduler.tables import OrganizationDiscount
from scheduler.waking import PLACE

LISTED_MAX = 1000
_OF = Statement(
    "SELECT organization_id, discount_basis_points FROM organization_discounts "
    "WHERE organization_id = ANY(cast(:organizations AS text[]))"
)


def most(config: Settings | None = None) -> int:
    """The most basis points that anybody is given now: a discount comes out of the fee."""
    return (config or settings()).fee_basis_points


def of(session: Session, organization_ids: Collection[str], config: Settings | None = None) -> dict[str, int]:
    """The basis points of these organizations, by organization: what was said, and never more than the fee of now."""
    fee = most(config)
    rows = _OF.rows(session, {"organizations": list(organization_ids)})
    return {row.organization_id: min(row.discount_basis_points, fee) for row in rows}


def listed(session: Session) -> Sequence[OrganizationDiscount]:
    """By organization."""
    return session.scalars(
        select(OrganizationDiscount).order_by(OrganizationDiscount.organization_id).limit(LISTED_MAX)
    ).all()


def put(
    session: Session, organization_id: str, discount_basis_points: int, now: datetime, config: Settings | None = None
) -> None:
    """From the next lease on; 0 leaves no row. Raises InvalidInput for more than the fee, which it comes out of."""
    fee = most(config)
    if discount_basis_points > fee:
        raise InvalidInput(
            f"a discount comes out of the platform's fee, which is {fee / 100:g}%", remedy=f"say {fee / 100:g} or less"
        )
    if discount_basis_points == 0:
        session.execute(delete(OrganizationDiscount).where(OrganizationDiscount.organization_id == organization_id))
    else:
        amounts = {"discount_basis_points": discount_basis_points, "changed_at": now}
        statement = insert(OrganizationDiscount).values(organization_id=organization_id, **amounts)
        session.execute(statement.on_conflict_do_update(index_elements=["organization_id"], set_=amounts))
    wake(session, PLACE)
