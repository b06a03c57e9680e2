"""Operators: corrections of posted charges, each a reversal that names its line."""

from datetime import datetime
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from billing.charging import adjustments
from billing.charging.adjustments import Adjustment, Bearer
from market.customer_api import Money
from portal_api.identity import idempotency
from portal_api.identity.idempotency import Answered, IdempotencyKeyHeader, Intent
from portal_api.identity.principals import SignedInOperator
from portal_api.portal import PortalDep
from portal_api.strictness import StrictRoute

router = APIRouter(route_class=StrictRoute, prefix="/ops/v1", tags=["operator"])
OWNER = "operator"


class AdjustmentRequest(BaseModel):
    """amount_microusd: how much of the line is given back; none: all that is left. reason: its customer reads it.

    at_cost_of: who bears the provider's share of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    line_id: str = Field(max_length=40)
    amount_microusd: int | None = Field(default=None, gt=0, le=10**15)
    reason: str = Field(min_length=1, max_length=500)
    at_cost_of: Literal["provider", "platform"] = "provider"


class AdjustmentRecord(BaseModel):
    """provider_share, fee, rounding: whose part the amount was; owed: what the provider had been paid already and
    still owes."""

    adjustment_id: str
    line_id: str
    job_id: str
    organization_id: str
    provider_id: str
    amount: Money
    provider_share: Money
    fee: Money
    rounding: Money
    owed: Money
    cause: str
    reason: str
    adjusted_at: datetime


class AdjustmentList(BaseModel):
    items: list[AdjustmentRecord]


@router.get("/adjustments")
async def list_adjustments(portal: PortalDep, _: SignedInOperator) -> AdjustmentList:
    """What was given back of posted charges, newest first."""
    return AdjustmentList(items=[_record(item) for item in await portal.threads.read(adjustments.newest)])


@router.post("/adjustments", status_code=201, response_model=AdjustmentRecord)
async def adjust_line(
    portal: PortalDep, operator: SignedInOperator, request: AdjustmentRequest, key: IdempotencyKeyHeader
) -> Response:
    """Give a part of a usage line back to its customer, exactly once for each key."""
    now = portal.now()
    intent = Intent(OWNER, "adjust_line", key, idempotency.body_digest(request.model_dump_json().encode()))

    def made(session: Session) -> Answered:
        found = adjustments.reverse(
            session,
            request.line_id,
            request.amount_microusd,
            reason=request.reason,
            by=operator.token_id,
            now=now,
            bearer=Bearer(request.at_cost_of),
        )
        return Answered(201, _record(found).model_dump(mode="json"))

    answer = await portal.threads.transact(
        lambda session: idempotency.once(session, intent, lambda: made(session), now)
    )
    return answer.response("/ops/v1/adjustments")


def _record(item: Adjustment) -> AdjustmentRecord:
    return AdjustmentRecord(
        adjustment_id=item.adjustment_id,
        line_id=item.line_id,
        job_id=item.job_id,
        organization_id=item.organization_id,
        provider_id=item.provider_id,
        amount=Money.of(item.amount_microusd),
        provider_share=Money.of(item.split.provider_microusd),
        fee=Money.of(item.split.fee_microusd),
        rounding=Money.of(item.split.rounding_microusd),
        owed=Money.of(item.owed_microusd - item.recovered_microusd),
        cause=item.cause,
        reason=item.reason,
        adjusted_at=item.adjusted_at,
    )
