"""Renewing: live leases get their next window of money ahead, or notice that none will come."""

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from billing.charging import bills, budgets, holds
from billing.charging.funding import budget_left, told_of
from billing.charging.windows import RENEW_BEFORE, Funded, Limits, Rate, next_window, renewal
from billing.ledger import accounts, posting
from billing.tables.funding import JobTermsRow, WindowRow
from billing.tables.metering import MeteredLeaseRow
from infra.outbox import publish
from infra.settings import Settings, settings
from infra.telemetry import WINDOWS_FUNDED, count
from market.clock import milliseconds_between
from market.ids import new_id
from market.messages import FundingRefused, JobFunded
from market.states import Reason

LEASES_MAX = 200
TRY_AGAIN = timedelta(seconds=5)


def fund_windows(session: Session, now: datetime, config: Settings | None = None, limit: int = LEASES_MAX) -> int:
    """Fund the next window of every lease that is due for one; returns how many were due."""
    config = config or settings()
    leases = session.scalars(
        select(MeteredLeaseRow)
        .where(MeteredLeaseRow.renew_at <= now)
        .order_by(MeteredLeaseRow.renew_at, MeteredLeaseRow.lease_id)
        .limit(limit)
        .with_for_update(skip_locked=True, key_share=True)
    ).all()
    if not leases:
        return 0
    job_ids = [lease.job_id for lease in leases]
    terms = {row.job_id: row for row in session.scalars(select(JobTermsRow).where(JobTermsRow.job_id.in_(job_ids)))}
    owners = {lease.organization_id for lease in leases}
    balances = posting.lock(session, [name(owner) for owner in owners for name in (accounts.available, accounts.held)])
    costs = bills.costs(session, job_ids)
    allowances = budgets.allowances(session, balances, [lease.funded_until for lease in leases])
    transfers = []
    for lease in leases:
        account = accounts.available(lease.organization_id)
        of_job = terms[lease.job_id]
        binding = allowances.binding(lease.organization_id, of_job.labels, lease.funded_until)
        tightest = allowances.tightest(binding)
        limits = Limits(
            config.window_seconds,
            of_job.remaining_seconds - milliseconds_between(lease.granted_at, lease.funded_until) // 1000,
            budget_left(of_job, costs[lease.job_id]),
            balances[account],
            allowances.left(tightest),
        )
        rate = Rate(lease.quantity_milli, lease.price_microusd_per_unit_hour)
        funded = next_window(rate, limits, last_chance=lease.funded_until - now <= RENEW_BEFORE)
        if isinstance(funded, Funded):
            taken = allowances.take(binding, funded.amount_microusd)
            transfers.append(_extend(session, lease, of_job, funded, now, taken))
            balances[account] -= funded.amount_microusd
        else:
            declined = _decline(lease, funded, now)
            if declined is not None:
                detail = told_of(session, rate, limits, funded, tightest, now)
                publish(session, declined.model_copy(update={"detail": detail}))
    session.flush()
    posting.post(session, transfers, locked=balances)
    return len(leases)


def _extend(
    session: Session,
    lease: MeteredLeaseRow,
    terms: JobTermsRow,
    funded: Funded,
    now: datetime,
    budgeted: list[str] | None,
) -> posting.Transfer:
    """The window that follows the lease's last one, without a gap."""
    from_at, number = lease.funded_until, lease.window_count
    until_at = from_at + timedelta(seconds=funded.seconds)
    hold = holds.open_hold(terms, lease.attempt_number, number, funded, now, budgeted, from_at)
    session.add(hold)
    session.flush()
    session.add(
        WindowRow(
            id=new_id("win"),
            lease_id=lease.lease_id,
            number=number,
            hold_id=hold.id,
            from_at=from_at,
            until_at=until_at,
        )
    )
    lease.funded_until, lease.window_count, lease.renew_at = until_at, number + 1, renewal(from_at, until_at)
    lease.funding_refused_at = None
    count(session, WINDOWS_FUNDED)
    publish(session, JobFunded(trace=lease.trace, job_id=lease.job_id, lease_id=lease.lease_id, until=until_at))
    return holds.opening(hold)


def _decline(lease: MeteredLeaseRow, reason: Reason, now: datetime) -> FundingRefused | None:
    """What is said of it, once, near the end of what is funded; until then money may still come, and is asked for."""
    if reason is Reason.STOPPED_MAX_DURATION:
        lease.renew_at = None
        return None
    until, refused = lease.funded_until, None
    if until - now <= RENEW_BEFORE and lease.funding_refused_at is None:
        lease.funding_refused_at = now
        refused = FundingRefused(
            trace=lease.trace, job_id=lease.job_id, lease_id=lease.lease_id, reason=reason, until=until
        )
    lease.renew_at = now + TRY_AGAIN if now + TRY_AGAIN < until else None
    return refused
