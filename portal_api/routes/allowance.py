"""A customer's allowance: the token account of its own that the market pulls from while its balance is short."""

from fastapi import APIRouter

from billing.settling import allowances
from billing.settling.allowances import Allowance, Pull
from billing.treasury import custody
from market.customer_api import Money
from market.funds_api import AllowanceRequest, AllowanceView, ApprovalRequest, PullList, PullView
from portal_api.identity.principals import BillReader, Payer
from portal_api.portal import PortalDep
from portal_api.strictness import StrictRoute

router = APIRouter(route_class=StrictRoute, prefix="/v1/allowance", tags=["money"])


@router.get("")
async def get_allowance(portal: PortalDep, member: BillReader) -> AllowanceView:
    """The organization's allowance, and what the chain was last seen to say of it."""
    config = portal.base.settings
    return _view(await portal.threads.read(lambda session: allowances.get(session, member.organization_id, config)))


@router.put("")
async def put_allowance(portal: PortalDep, member: Payer, request: AllowanceRequest) -> AllowanceView:
    """Ask what is to be approved, or change the terms; the same again changes nothing."""
    now, config, held = portal.now(), portal.base.settings, custody.custody()
    return _view(
        await portal.threads.transact(
            lambda session: allowances.put(
                session,
                member.organization_id,
                request.keep_microusd,
                request.daily_max_microusd,
                custody=held,
                now=now,
                config=config,
            )
        )
    )


@router.post("/approval")
async def offer_approval(portal: PortalDep, member: Payer, request: ApprovalRequest) -> AllowanceView:
    """Name the owner's transaction that approves: once it is final and right, the allowance is active."""
    now, config = portal.now(), portal.base.settings
    return _view(
        await portal.threads.transact(
            lambda session: allowances.offer(session, member.organization_id, request.signature, now, config)
        )
    )


@router.delete("", status_code=204)
async def end_allowance(portal: PortalDep, member: Payer) -> None:
    """Pull nothing more but what is on its way; on the chain only the account's owner can revoke."""
    now = portal.now()
    await portal.threads.transact(lambda session: allowances.end(session, member.organization_id, now))


@router.get("/pulls")
async def list_pulls(portal: PortalDep, member: BillReader) -> PullList:
    """What was pulled for the organization, newest first."""
    found = await portal.threads.read(lambda session: allowances.pulls_of(session, member.organization_id))
    return PullList(items=[_pull(each) for each in found])


def _view(found: Allowance) -> AllowanceView:
    return AllowanceView(
        allowance_id=found.allowance_id,
        state=found.state,
        delegate=found.delegate,
        mint=found.mint,
        memo=found.memo,
        keep=Money.of(found.keep_microusd),
        daily_max=Money.of(found.daily_max_microusd),
        token_account=found.token_account,
        owner=found.owner,
        delegated=Money.of(found.delegated_microusd),
        balance=Money.of(found.balance_microusd),
        pullable=Money.of(found.pullable_microusd),
        read_at=found.read_at,
        detail=found.detail,
    )


def _pull(found: Pull) -> PullView:
    return PullView(
        pull_id=found.pull_id,
        state=found.state,
        amount=Money.of(found.amount_microusd),
        token_account=found.token_account,
        created_at=found.created_at,
        detail=found.detail,
        signature=found.signature,
    )
