"""A job's bill: what it has cost so far, what is held for it, and its lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from billing.tables.bills import UsageLineRow
from billing.tables.funding import HoldRow, JobTermsRow
from billing.tables.metering import MeteredLeaseRow


@dataclass(frozen=True, slots=True)
class JobCost:
    """settled: the job has ended and every line of its bill is written."""

    total_microusd: int
    held_microusd: int
    settled: bool


@dataclass(frozen=True, slots=True)
class BillLine:
    """One usage line. epoch: the one it is closed in, if any."""

    line_id: str
    attempt_number: int
    window_number: int
    quantity_milli: int
    run_ms: int
    price_microusd_per_unit_hour: int
    amount_microusd: int
    provider_microusd: int
    fee_microusd: int
    rounding_microusd: int
    epoch: int | None
    captured_at: datetime


def costs(session: Session, job_ids: Sequence[str]) -> dict[str, JobCost]:
    """By job; jobs that billing does not know are left out."""
    job_id = JobTermsRow.job_id
    total = select(func.coalesce(func.sum(UsageLineRow.amount_microusd), 0)).where(UsageLineRow.job_id == job_id)
    open_holds = (HoldRow.job_id == job_id) & HoldRow.settled_at.is_(None)
    held = select(func.coalesce(func.sum(HoldRow.amount_microusd), 0)).where(open_holds)
    unsettled = exists().where(MeteredLeaseRow.job_id == job_id, MeteredLeaseRow.settled_at.is_(None))
    rows = session.execute(
        select(
            job_id,
            total.correlate(JobTermsRow).scalar_subquery().label("total"),
            held.correlate(JobTermsRow).scalar_subquery().label("held"),
            (JobTermsRow.ended_at.is_not(None) & ~exists().where(open_holds) & ~unsettled).label("settled"),
        ).where(job_id.in_(job_ids))
    )
    return {row.job_id: JobCost(int(row.total), int(row.held), row.settled) for row in rows}


def lines(session: Session, job_id: str) -> list[BillLine]:
    """In the order of the work: by attempt, then by window."""
    rows = session.scalars(
        select(UsageLineRow)
        .where(UsageLineRow.job_id == job_id)
        .order_by(UsageLineRow.attempt_number, UsageLineRow.window_number)
    )
    return [
        BillLine(
            line_id=row.id,
            attempt_number=row.attempt_number,
            window_number=row.window_number,
            quantity_milli=row.quantity_milli,
            run_ms=row.to_ms - row.from_ms,
            price_microusd_per_unit_hour=row.price_microusd_per_unit_hour,
            amount_microusd=row.amount_microusd,
            provider_microusd=row.provider_microusd,
            fee_microusd=row.fee_microusd,
            rounding_microusd=row.rounding_microusd,
            epoch=row.epoch,
            captured_at=row.captured_at,
        )
        for row in rows
    ]
