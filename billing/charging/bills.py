"""A job's bill: what it has cost so far, what is held for it, and its lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from billing.metering import components
from billing.tables.bills import UsageLineRow
from infra.statements import Statement
from market.components import Components


@dataclass(frozen=True, slots=True)
class JobCost:
    """settled: the job has ended and every line of its bill is written; run_ms: how long it ran, by its lines.

    credited_microusd: what of the total was given back by adjustments.
    """

    total_microusd: int
    held_microusd: int
    settled: bool
    run_ms: int = 0
    credited_microusd: int = 0


@dataclass(frozen=True, slots=True)
class BillLine:
    """One usage line. epoch: the one it is closed in, if any. components: what its price was made of, where more is in
    it than the unit's own."""

    line_id: str
    attempt_number: int
    window_number: int
    quantity_milli: int
    run_ms: int
    price_microusd_per_unit_hour: int
    discount_basis_points: int
    minimum_ms: int
    amount_microusd: int
    provider_microusd: int
    fee_microusd: int
    rounding_microusd: int
    epoch: int | None
    captured_at: datetime
    components: Components | None = None


_COSTS = Statement(
    """
    SELECT job_id,
        coalesce(charged.amount, 0) AS total, coalesce(charged.run_ms, 0) AS run_ms,
        coalesce(open_holds.amount, 0) AS held, coalesce(credited.amount, 0) AS credited,
        ended_at IS NOT NULL AND open_holds.amount IS NULL AND NOT EXISTS (
            SELECT FROM metered_leases AS lease WHERE lease.job_id = terms.job_id AND lease.settled_at IS NULL
        ) AS settled
    FROM job_terms AS terms
    LEFT JOIN LATERAL (
        SELECT sum(amount_microusd) AS amount, sum(to_ms - from_ms) AS run_ms FROM usage_lines AS line
        WHERE line.job_id = terms.job_id
    ) AS charged ON true
    LEFT JOIN LATERAL (
        SELECT sum(amount_microusd) AS amount FROM holds
        WHERE holds.job_id = terms.job_id AND holds.settled_at IS NULL
    ) AS open_holds ON true
    LEFT JOIN LATERAL (
        SELECT sum(amount_microusd) AS amount FROM adjustments WHERE adjustments.job_id = terms.job_id
    ) AS credited ON true
    WHERE job_id = ANY(cast(:jobs AS text[]))
    """
)


def costs(session: Session, job_ids: Sequence[str]) -> dict[str, JobCost]:
    """By job; jobs that billing does not know are left out."""
    rows = _COSTS.rows(session, {"jobs": list(job_ids)})
    return {
        row.job_id: JobCost(int(row.total), int(row.held), row.settled, int(row.run_ms), int(row.credited))
        for row in rows
    }


def lines(session: Session, job_id: str) -> list[BillLine]:
    """In the order of the work: by attempt, then by window."""
    rows = session.scalars(
        select(UsageLineRow)
        .where(UsageLineRow.job_id == job_id)
        .order_by(UsageLineRow.attempt_number, UsageLineRow.window_number)
    ).all()
    made = components.of_leases(session, {row.lease_id for row in rows})
    return [
        BillLine(
            line_id=row.id,
            attempt_number=row.attempt_number,
            window_number=row.window_number,
            quantity_milli=row.quantity_milli,
            run_ms=row.to_ms - row.from_ms,
            price_microusd_per_unit_hour=row.price_microusd_per_unit_hour,
            discount_basis_points=row.discount_basis_points,
            minimum_ms=row.minimum_ms,
            amount_microusd=row.amount_microusd,
            provider_microusd=row.provider_microusd,
            fee_microusd=row.fee_microusd,
            rounding_microusd=row.rounding_microusd,
            epoch=row.epoch,
            captured_at=row.captured_at,
            components=made.get(row.lease_id),
        )
        for row in rows
    ]
