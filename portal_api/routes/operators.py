"""Operators: the market at a glance, closing an epoch, checking the ledger, tracing a job."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel
from sqlalchemy.orm import Session

from billing.settling import epochs
from billing.settling.epochs import EpochStatus
from market.customer_api import Money
from market.provider_api import ConditionView
from monitoring.job_trace import JobTrace, job_trace
from monitoring.overview import LedgerState, Overview, ledger_state, overview
from portal_api.identity.principals import SignedInOperator
from portal_api.node_views import condition_view
from portal_api.portal import PortalDep
from portal_api.strictness import StrictRoute
from scheduler.supply import health

router = APIRouter(route_class=StrictRoute, prefix="/ops/v1", tags=["operator"])
EPOCH_MAX = 2**53 - 1


class PayoutView(BaseModel):
    payout_id: str
    provider_id: str
    wallet_address: str
    amount: Money
    state: str
    detail: str
    signature: str | None


class EpochView(BaseModel):
    """anchor_signature: of the chain transaction that carries the root, once it is finalized."""

    epoch: int
    root: str
    line_count: int
    total: Money
    closed_at: datetime
    anchor_signature: str | None
    payouts: list[PayoutView]


class EpochClose(BaseModel):
    """epoch: the one that was closed; null when no usage line was open. Due payouts are opened all the same."""

    epoch: EpochView | None


class NodeConditionView(ConditionView):
    """A condition, and whose node it stands against."""

    node_id: str
    node_name: str
    provider_id: str


class ConditionList(BaseModel):
    items: list[NodeConditionView]


@router.get("/overview")
async def get_overview(portal: PortalDep, _: SignedInOperator) -> Overview:
    """Nodes, leases, jobs, money and what is stuck, right now."""
    now = portal.now()
    return await portal.threads.read(lambda session: overview(session, now))


@router.get("/conditions")
async def list_conditions(portal: PortalDep, _: SignedInOperator) -> ConditionList:
    """What stands against nodes and GPUs of the whole market, what quarantines first."""
    found = await portal.threads.read(health.standing)
    return ConditionList(
        items=[
            NodeConditionView(
                node_id=each.node_id,
                node_name=each.node_name,
                provider_id=each.provider_id,
                **condition_view(each).model_dump(),
            )
            for each in found
        ]
    )


@router.get("/ledger")
async def get_ledger(portal: PortalDep, _: SignedInOperator) -> LedgerState:
    """The ledger's totals and whatever of its invariants does not hold."""
    return await portal.threads.read(ledger_state)


@router.post("/epochs", status_code=201)
async def close_epoch(portal: PortalDep, _: SignedInOperator) -> EpochClose:
    """Close the open epoch now and start paying what it makes due; twice in a row closes nothing the second time."""
    now = portal.now()

    def close(session: Session) -> EpochClose:
        number = epochs.close(session, now, portal.base.settings)
        return EpochClose(epoch=_view(epochs.status(session, number)) if number is not None else None)

    return await portal.threads.transact(close)


@router.get("/epochs/{epoch}")
async def get_epoch(
    portal: PortalDep, _: SignedInOperator, epoch: Annotated[int, Path(ge=1, le=EPOCH_MAX)]
) -> EpochView:
    """A closed epoch: its root, where that is anchored, and what became of its payouts."""
    return _view(await portal.threads.read(lambda session: epochs.status(session, epoch)))


@router.get("/jobs/{job_id}/trace")
async def get_job_trace(
    portal: PortalDep, _: SignedInOperator, job_id: Annotated[str, Path(max_length=40)]
) -> JobTrace:
    """Everything that happened to a job, in order, from the rows."""
    return await portal.threads.read(lambda session: job_trace(session, job_id))


def _view(status: EpochStatus) -> EpochView:
    return EpochView(
        epoch=status.epoch,
        root=status.root,
        line_count=status.line_count,
        total=Money.of(status.total_microusd),
        closed_at=status.closed_at,
        anchor_signature=status.anchor_signature,
        payouts=[
            PayoutView(
                payout_id=payout.payout_id,
                provider_id=payout.provider_id,
                wallet_address=payout.wallet_address,
                amount=Money.of(payout.amount_microusd),
                state=payout.state,
                detail=payout.detail,
                signature=payout.signature,
            )
            for payout in status.payouts
        ],
    )
