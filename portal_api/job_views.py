"""Jobs, offers and bills as customers see them: the scheduler's rows and billing's rows brought together."""

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy.orm import Session

from billing.charging import bills
from billing.charging.adjustments import Adjustment
from billing.charging.bills import BillLine, JobCost
from market.customer_api import (
    AdjustmentView,
    AttemptView,
    ComponentPricesView,
    ComponentsView,
    CostLine,
    CostView,
    JobView,
    Money,
    OfferView,
    PlanView,
)
from market.money import window_hold_microusd
from market.specs import Retry
from scheduler.rounds.quotes import Limit, Plan, highest_cost
from scheduler.supply.offers import OfferRecord
from scheduler.work import jobs
from scheduler.work.jobs import AttemptRecord, JobKey, JobRecord

_NOTHING_YET = JobCost(0, 0, settled=False)


def load(session: Session, wanted: Collection[JobKey]) -> dict[JobKey, JobView]:
    """The views of these jobs; what is missing or somebody else's is left out."""
    return of_records(session, jobs.get(session, wanted).values())


def of_records(session: Session, records: Iterable[JobRecord]) -> dict[JobKey, JobView]:
    """Views in the order of the records."""
    found = list(records)
    costs = bills.costs(session, [record.job_id for record in found]) if found else {}
    return {
        (record.organization_id, record.job_id): job_view(record, costs.get(record.job_id, _NOTHING_YET))
        for record in found
    }


def job_view(record: JobRecord, cost: JobCost) -> JobView:
    return JobView(
        job_id=record.job_id,
        name=record.name,
        state=record.state,
        reason=record.reason,
        detail=record.detail,
        exit_code=record.exit_code,
        unit=record.unit,
        quantity_milli=record.quantity_milli,
        attempts=[_attempt_view(attempt) for attempt in record.attempts],
        cost=Money.of(cost.total_microusd),
        held=Money.of(cost.held_microusd),
        billed=record.state.final and cost.settled,
        spec=record.spec,
        version=record.version,
        created_at=record.created_at,
        started_at=record.started_at,
        ended_at=record.ended_at,
        run_ms=cost.run_ms,
        credited=Money.of(cost.credited_microusd),
    )


def cost_view(record: JobRecord, cost: JobCost, lines: Iterable[BillLine], adjusted: Iterable[Adjustment]) -> CostView:
    return CostView(
        job_id=record.job_id,
        total=Money.of(cost.total_microusd),
        held=Money.of(cost.held_microusd),
        highest_cost=Money.of(_highest_cost(record)),
        lines=[_cost_line(line) for line in lines],
        credited=Money.of(cost.credited_microusd),
        adjustments=[adjustment_view(item) for item in adjusted],
    )


def plan_view(plan: Plan, first_hold_microusd: int) -> PlanView:
    expected = plan.expected_price_microusd_per_unit_hour
    # For all units of the job, one hour.
    per_hour = None if expected is None else window_hold_microusd(plan.quantity_milli, 3_600_000, expected)
    return PlanView(
        offers=[offer_view(offer, plan.discount_basis_points) for offer in plan.offers],
        offer_count=plan.offer_count,
        unit=plan.unit,
        quantity_milli=plan.quantity_milli,
        price_limit_per_unit_hour=Money.of(plan.price_limit_microusd_per_unit_hour),
        expected_price_per_hour=None if per_hour is None else Money.of(per_hour),
        highest_cost=Money.of(plan.highest_cost_microusd),
        first_hold=Money.of(first_hold_microusd),
        max_duration_seconds=plan.max_duration_seconds,
        explanation=plan.explanation,
        discount_basis_points=plan.discount_basis_points,
        minimum_seconds=plan.minimum_seconds,
    )


def offer_view(offer: OfferRecord, discount_basis_points: int) -> OfferView:
    work_price = offer.work_price_microusd
    return OfferView(
        offer_id=offer.offer_id,
        node_id=offer.node_id,
        node_name=offer.node_name,
        provider_id=offer.provider_id,
        unit=offer.unit,
        model=offer.model,
        memory_bytes=offer.memory_bytes,
        total_milli=offer.total_milli,
        free_milli=offer.free_milli,
        cpu_free_milli=offer.cpu_free_milli,
        memory_free_bytes=offer.memory_free_bytes,
        price_per_unit_hour=Money.of(offer.price_microusd_per_unit_hour),
        simulated=offer.simulated,
        verified=offer.verified,
        measured=dict(offer.measured),
        work_price=Money.of(work_price) if work_price is not None else None,
        discount_basis_points=discount_basis_points,
        components=ComponentPricesView.of(offer.components) if offer.components else None,
        unit_price_per_hour=Money.of(offer.unit_price_microusd_per_hour),
    )


def adjustment_view(item: Adjustment) -> AdjustmentView:
    return AdjustmentView(
        adjustment_id=item.adjustment_id,
        line_id=item.line_id,
        amount=Money.of(item.amount_microusd),
        cause=item.cause,
        reason=item.reason,
        adjusted_at=item.adjusted_at,
    )


def _attempt_view(attempt: AttemptRecord) -> AttemptView:
    return AttemptView(
        attempt_id=attempt.attempt_id,
        number=attempt.number,
        state=attempt.state,
        reason=attempt.reason,
        detail=attempt.detail,
        node_id=attempt.node_id,
        node_name=attempt.node_name,
        provider_id=attempt.provider_id,
        price_per_unit_hour=Money.of(attempt.price_microusd_per_unit_hour),
        exit_code=attempt.exit_code,
        placed_at=attempt.placed_at,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        components=ComponentsView.of(attempt.components) if attempt.components else None,
    )


def _cost_line(line: BillLine) -> CostLine:
    return CostLine(
        line_id=line.line_id,
        attempt_number=line.attempt_number,
        window_number=line.window_number,
        quantity_milli=line.quantity_milli,
        run_ms=line.run_ms,
        price_per_unit_hour=Money.of(line.price_microusd_per_unit_hour),
        discount_basis_points=line.discount_basis_points,
        minimum_ms=line.minimum_ms,
        amount=Money.of(line.amount_microusd),
        provider_share=Money.of(line.provider_microusd),
        fee=Money.of(line.fee_microusd),
        rounding=Money.of(line.rounding_microusd),
        epoch=line.epoch,
        captured_at=line.captured_at,
        components=ComponentsView.of(line.components) if line.components else None,
    )


def _highest_cost(record: JobRecord) -> int:
    budget: dict[str, Any] = record.spec.get("budget") or {}
    limit = Limit(record.unit, record.quantity_milli, record.price_limit_microusd_per_unit_hour)
    retry = Retry.model_validate(record.spec.get("retry") or {})
    return highest_cost(limit, record.max_duration_seconds, retry, budget.get("max_total"))
