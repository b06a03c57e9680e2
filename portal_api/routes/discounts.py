"""Operators: what organizations pay less than is asked."""

from fastapi import APIRouter
from sqlalchemy.orm import Session

from market.discounts_api import DiscountList, DiscountRequest, DiscountView
from market.errors import NotFound
from portal_api.identity.principals import SignedInOperator
from portal_api.identity.tables import Organization
from portal_api.portal import PortalDep
from portal_api.strictness import StrictRoute
from scheduler.rounds import discounts
from scheduler.tables import OrganizationDiscount

router = APIRouter(route_class=StrictRoute, prefix="/ops/v1", tags=["operator"])


@router.get("/discounts")
async def list_discounts(portal: PortalDep, _: SignedInOperator) -> DiscountList:
    """The organizations that pay less than is asked."""
    return await portal.threads.read(
        lambda session: DiscountList(items=[_view(one) for one in discounts.listed(session)])
    )


@router.put("/organizations/{organization_id}/discount")
async def put_discount(
    portal: PortalDep, _: SignedInOperator, organization_id: str, request: DiscountRequest
) -> DiscountView:
    """Say what an organization pays less, from its next lease on; what runs keeps its price."""
    now, points = portal.now(), request.discount_basis_points

    def put(session: Session) -> DiscountView:
        if session.get(Organization, organization_id) is None:
            raise NotFound("there is no such organization here")
        discounts.put(session, organization_id, points, now, portal.base.settings)
        return DiscountView(organization_id=organization_id, discount_basis_points=points)

    return await portal.threads.transact(put)


def _view(row: OrganizationDiscount) -> DiscountView:
    return DiscountView(organization_id=row.organization_id, discount_basis_points=row.discount_basis_points)
