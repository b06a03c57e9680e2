"""What the next windows of an organization's running jobs will want held, before they are funded."""

from collections import Counter
from collections.abc import Collection
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from billing.charging import bills
from billing.charging.funding import budget_left
from billing.charging.windows import Rate
from billing.tables.funding import JobTermsRow
from billing.tables.metering import MeteredLeaseRow
from infra.settings import Settings
from market.clock import milliseconds_between

AHEAD = timedelta(seconds=30)
"""So much before a renewal is due its money is asked for: about what a pull takes to become final."""
LEASES_MAX = 200
"""Of an organization at a time: what it wants for more of them is seen once these are renewed."""


def is_due(now: datetime) -> ColumnElement[bool]:
    """Of a lease: whether its next window is to be paid now, or very soon."""
    return MeteredLeaseRow.renew_at <= now + AHEAD


def amounts(session: Session, organization_ids: Collection[str], now: datetime, config: Settings) -> Counter[str]:
    """Micro-USDC by organization, of the first LEASES_MAX of its windows that come due."""
    nth = func.row_number().over(
        partition_by=MeteredLeaseRow.organization_id, order_by=(MeteredLeaseRow.renew_at, MeteredLeaseRow.lease_id)
    )
    due = select(MeteredLeaseRow.lease_id, nth.label("nth")).where(
        is_due(now), MeteredLeaseRow.organization_id.in_(organization_ids)
    )
    first = select(due.subquery()).subquery()
    rows = session.execute(
        select(MeteredLeaseRow, JobTermsRow)
        .join(JobTermsRow, JobTermsRow.job_id == MeteredLeaseRow.job_id)
        .join(first, first.c.lease_id == MeteredLeaseRow.lease_id)
        .where(first.c.nth <= LEASES_MAX)
    ).all()
    costs = bills.costs(session, [terms.job_id for _, terms in rows])
    wanted: Counter[str] = Counter()
    for lease, terms in rows:
        over_ms = milliseconds_between(lease.granted_at, lease.funded_until)
        seconds = max(0, min(config.window_seconds, terms.remaining_seconds - over_ms // 1000))
        amount = Rate(lease.quantity_milli, lease.price_microusd_per_unit_hour).hold_microusd(seconds)
        left = budget_left(terms, costs[terms.job_id])
        wanted[lease.organization_id] += amount if left is None else min(amount, left)
    return wanted
