"""Operators: what organizations are entitled to beside others."""

from fastapi import APIRouter
from sqlalchemy.orm import Session

from market.errors import NotFound
from market.shares_api import ShareList, ShareRequest, ShareView
from portal_api.identity.principals import SignedInOperator
from portal_api.identity.tables import Organization
from portal_api.portal import PortalDep
from portal_api.strictness import StrictRoute
from scheduler.placement.queue.waiting import Account
from scheduler.rounds import shares
from scheduler.tables import OrganizationShare

router = APIRouter(route_class=StrictRoute, prefix="/ops/v1", tags=["operator"])


@router.get("/shares")
async def list_shares(portal: PortalDep, _: SignedInOperator) -> ShareList:
    """The shares that are not the usual one."""
    return await portal.threads.read(lambda session: ShareList(items=[_view(one) for one in shares.listed(session)]))


@router.put("/organizations/{organization_id}/share")
async def put_share(portal: PortalDep, _: SignedInOperator, organization_id: str, request: ShareRequest) -> ShareView:
    """Say what an organization is entitled to, from the next round on; what it holds it keeps."""
    now = portal.now()

    def put(session: Session) -> ShareView:
        if session.get(Organization, organization_id) is None:
            raise NotFound("there is no such organization here")
        shares.put(session, organization_id, Account(**request.model_dump()), now)
        return ShareView(organization_id=organization_id, **request.model_dump())

    return await portal.threads.transact(put)


def _view(row: OrganizationShare) -> ShareView:
    return ShareView(
        organization_id=row.organization_id,
        weight_milli=row.weight_milli,
        quota_gpus=row.quota_gpus,
        ceiling_gpus=row.ceiling_gpus,
    )
