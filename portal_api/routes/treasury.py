"""Operators: what custody holds against what is owed, and money that came in without saying whose it is."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from billing.chains.port import ChainError
from billing.treasury import custody, reconciliation, unmatched
from billing.treasury.reconciliation import Reconciliation
from market.customer_api import Money
from market.errors import NotFound, Unavailable
from portal_api.identity.principals import SignedInOperator
from portal_api.identity.tables import Organization
from portal_api.portal import PortalDep
from portal_api.strictness import StrictRoute

router = APIRouter(route_class=StrictRoute, prefix="/ops/v1", tags=["operator"])


class FlightView(BaseModel):
    """A signed transaction that may still land. state: as the chain has it."""

    signature: str
    batch_id: str
    amount: Money
    state: str


class ReconciliationView(BaseModel):
    """custody: what the treasury's token account holds, finalized; liabilities: what it must by the ledger.

    by_kind: whose the liabilities are, by kind of account (GLOSSARY: available, held, withdrawing, payable, ...).
    unmatched: what came in and is nobody's yet; difference_microusd: what nothing explains, 0 if all is well;
    lamports: for fees and rent; mismatches: in words.
    """

    custody: Money
    liabilities: Money
    by_kind: dict[str, Money]
    unmatched: Money
    in_flight: list[FlightView]
    lamports: int
    difference_microusd: int
    mismatches: list[str]


class MovementView(BaseModel):
    """amount_microusd: below 0 for what left the treasury by a transaction that is not the market's."""

    signature: str
    amount_microusd: int
    sender: str | None
    memo: str | None
    seen_at: datetime


class MovementList(BaseModel):
    items: list[MovementView]


class AssignRequest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    organization_id: str = Field(max_length=40)


class AssignedView(BaseModel):
    deposit_id: str
    organization_id: str
    credited: Money


@router.get("/reconciliation")
async def get_reconciliation(portal: PortalDep, _: SignedInOperator) -> ReconciliationView:
    """Look at the chain now, and compare."""

    def compare() -> Reconciliation:
        held = custody.custody()
        try:
            return reconciliation.reconcile(portal.base.database, custody.chain(), held)
        except ChainError as error:
            raise Unavailable(f"the chain does not say: {error}") from error

    found = await portal.threads.call(compare)
    return ReconciliationView(
        custody=Money.of(found.chained.custody_microusd),
        liabilities=Money.of(found.books.liabilities_microusd),
        by_kind={kind: Money.of(amount) for kind, amount in found.books.by_kind},
        unmatched=Money.of(found.books.unmatched_microusd),
        in_flight=[
            FlightView(
                signature=flight.signature,
                batch_id=flight.batch_id,
                amount=Money.of(flight.amount_microusd),
                state="failed" if flight.failed else flight.state.value,
            )
            for flight in found.chained.flights
        ],
        lamports=found.chained.lamports,
        difference_microusd=found.difference_microusd,
        mismatches=list(found.mismatches),
    )


@router.get("/unmatched-deposits")
async def list_unmatched_deposits(portal: PortalDep, _: SignedInOperator) -> MovementList:
    """Money that moved in or out of the treasury and that no deposit or payout explains."""
    found = await portal.threads.read(unmatched.listed)
    items = [
        MovementView(
            signature=each.signature,
            amount_microusd=each.amount_microusd,
            sender=each.sender,
            memo=each.memo,
            seen_at=each.seen_at,
        )
        for each in found
    ]
    return MovementList(items=items)


@router.post("/unmatched-deposits/{signature}/assign", status_code=201)
async def assign_unmatched_deposit(
    portal: PortalDep, _: SignedInOperator, signature: Annotated[str, Path(max_length=90)], request: AssignRequest
) -> AssignedView:
    """Credit such a deposit to an organization, once."""
    now = portal.now()

    def assign(session: Session) -> AssignedView:
        if session.get(Organization, request.organization_id) is None:
            raise NotFound("there is no such organization")
        made = unmatched.assign(session, signature, request.organization_id, now)
        return AssignedView(
            deposit_id=made.deposit_id, organization_id=made.organization_id, credited=Money.of(made.credited_microusd)
        )

    return await portal.threads.transact(assign)
