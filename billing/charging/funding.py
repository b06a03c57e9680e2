"""Funding jobs that have no lease: the first window at submission and after a retry, and giving it back at the end."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from billing.charging import alerts, bills, budgets, holds
from billing.charging.windows import Funded, Limits, Rate, by_allowance, longest, next_window
from billing.ledger import accounts, posting
from billing.tables.funding import HoldRow, JobTermsRow
from billing.tables.metering import MeteredLeaseRow
from infra.bulk import insert_rows, values_of, write_changes
from infra.loading import Loading
from infra.outbox import NotReady, publish
from infra.settings import Settings, settings
from infra.statements import Statement
from infra.wakeups import after_commit
from market.errors import FieldError, InsufficientFunds, InvalidInput, MarketError
from market.messages import FundingRefused, JobFunded
from market.money import format_usdc
from market.resources import Unit
from market.states import Reason

_JOBS = Loading(
    {"terms": JobTermsRow},
    "FROM job_terms AS terms WHERE terms.job_id = ANY(cast(:jobs AS text[])) ORDER BY terms.job_id FOR NO KEY UPDATE",
)
_LEASE_COUNTS = Statement(
    "SELECT job_id, count(*) FROM metered_leases WHERE job_id = ANY(cast(:jobs AS text[])) GROUP BY job_id"
)
_UNBOUND = Loading(
    {"hold": HoldRow},
    """
    FROM holds AS hold
    WHERE hold.job_id = ANY(cast(:jobs AS text[])) AND hold.settled_at IS NULL
        AND NOT EXISTS (SELECT FROM windows WHERE windows.hold_id = hold.id)
    ORDER BY hold.id
    FOR NO KEY UPDATE
    """,
)


@dataclass(frozen=True, slots=True)
class JobTerms:
    """What a job may cost at most, over all its attempts. labels: those by which budgets may bind it."""

    job_id: str
    organization_id: str
    unit: Unit
    quantity_milli: int
    price_limit_microusd_per_unit_hour: int
    max_total_microusd: int | None
    max_duration_seconds: int
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FundedWindow:
    seconds: int
    amount_microusd: int


def open_job(session: Session, terms: JobTerms, now: datetime, config: Settings | None = None) -> FundedWindow:
    """Store a job's limits and hold its first window. Raises InsufficientFunds, BudgetSpent."""
    opened = open_jobs(session, [terms], now, config)[0]
    if isinstance(opened, MarketError):
        raise opened
    return opened


def open_jobs(
    session: Session, jobs: Sequence[JobTerms], now: datetime, config: Settings | None = None
) -> list[FundedWindow | MarketError]:
    """As open_job for each in turn; the refusal of one that cannot be funded, and the others are as if it never was."""
    if not jobs:
        return []
    config = config or settings()
    # Refusing somebody without money leaves no account behind.
    known = posting.lock_known(session, _accounts_of([job.organization_id for job in jobs]))
    balances = {accounts.available(job.organization_id): 0 for job in jobs} | known
    allowances = budgets.allowances(session, known, [now])
    terms: list[JobTermsRow] = []
    opened: list[HoldRow] = []
    outcomes: list[FundedWindow | MarketError] = []
    for job in jobs:
        account = accounts.available(job.organization_id)
        row = _terms_row(job, now)
        binding = allowances.binding(job.organization_id, job.labels, now)
        tightest = allowances.tightest(binding)
        left = allowances.left(tightest)
        limits = Limits(
            config.window_seconds, job.max_duration_seconds, job.max_total_microusd, balances[account], left
        )
        try:
            funded = _require_first(_rate(row, config), limits, tightest)
        except MarketError as refusal:
            outcomes.append(refusal)
            continue
        hold = holds.open_hold(row, 1, 0, funded, now, allowances.take(binding, funded.amount_microusd))
        balances[account] -= hold.amount_microusd
        terms.append(row)
        opened.append(hold)
        outcomes.append(FundedWindow(hold.seconds, hold.amount_microusd))
    insert_rows(session, JobTermsRow, [values_of(row) for row in terms])
    insert_rows(session, HoldRow, [values_of(hold) for hold in opened])
    posting.post_fresh(session, [holds.opening(hold) for hold in opened], locked=known)
    return outcomes


def requeue(
    session: Session,
    job_id: str,
    *,
    attempts_placed: int,
    remaining_seconds: int,
    now: datetime,
    config: Settings | None = None,
) -> None:
    """Hold the first window of a job's next attempt and say so, or say why not.

    Raises NotReady while billing has not heard of every attempt so far, or while one of them is still unsettled and
    what its hold gives back may be needed.
    """
    terms = _lock_terms(session, job_id)
    placed = _leases_of(session, [job_id])[job_id]
    if placed < attempts_placed:
        raise NotReady(f"{placed} of {attempts_placed} attempts of {job_id} are known")
    if terms.ended_at is not None or placed > attempts_placed or _is_held(session, job_id, attempts_placed + 1):
        return
    terms.remaining_seconds = remaining_seconds
    config = config or settings()
    rate = _rate(terms, config)
    balances = _lock_organizations(session, [terms.organization_id])
    allowances = budgets.allowances(session, balances, [now])
    binding = allowances.binding(terms.organization_id, terms.labels, now)
    tightest = allowances.tightest(binding)
    limits = Limits(
        config.window_seconds,
        remaining_seconds,
        budget_left(terms, bills.costs(session, [job_id])[job_id]),
        balances[accounts.available(terms.organization_id)],
        allowances.left(tightest),
    )
    funded = next_window(rate, limits)
    if isinstance(funded, Reason):
        if _has_unsettled(session, job_id):
            raise NotReady(f"an earlier attempt of {job_id} is not settled yet")
        detail = told_of(session, rate, limits, funded, tightest, now)
        refused = FundingRefused(job_id=job_id, lease_id=None, reason=funded, until=None, detail=detail)
        publish(session, refused)
        return
    taken = allowances.take(binding, funded.amount_microusd)
    hold = holds.open_hold(terms, attempts_placed + 1, 0, funded, now, taken)
    session.add(hold)
    session.flush()
    posting.post(session, [holds.opening(hold)], locked=balances)
    publish(session, JobFunded(job_id=job_id, seconds=funded.seconds))


def end_job(session: Session, job_id: str, attempts_placed: int, now: datetime) -> None:
    """As end_jobs, for one. Raises NotReady while billing has not heard of every attempt of it."""
    if end_jobs(session, {job_id: attempts_placed}, now):
        raise NotReady(f"not all {attempts_placed} attempts of {job_id} are known")


def end_jobs(session: Session, attempts_placed: Mapping[str, int], now: datetime) -> list[str]:
    """Jobs are final: give back what is held for attempts that will never come.

    attempts_placed: by job id, how many there were. Returns the jobs of which billing has not heard every attempt.
    """
    jobs = _lock_jobs(session, attempts_placed)
    placed = _leases_of(session, jobs)
    known = {job_id: terms for job_id, terms in jobs.items() if placed[job_id] >= attempts_placed[job_id]}
    ending = {job_id: terms for job_id, terms in known.items() if terms.ended_at is None}
    unbound = [hold for (hold,) in _UNBOUND.rows(session, {"jobs": list(ending)})]
    returned = [holds.settle(hold, 0, now) for hold in unbound]
    with session.no_autoflush:
        locked = holds.locked_first(session, unbound, returned)
    for job_id, terms in ending.items():
        terms.ended_at = now
        after_commit(session, f"job:{job_id}", f"over:{job_id}", f"organization:{terms.organization_id}")
    write_changes(session)
    posting.post(session, returned, locked=locked)
    return [job_id for job_id in attempts_placed if job_id not in known]


def budget_left(terms: JobTermsRow, cost: bills.JobCost) -> int | None:
    """What of a job's max_total is neither charged nor held."""
    if terms.max_total_microusd is None:
        return None
    return max(0, terms.max_total_microusd - cost.total_microusd - cost.held_microusd)


def told_of(
    session: Session, rate: Rate, limits: Limits, reason: Reason, tightest: budgets.Budget | None, now: datetime
) -> str:
    """Why nothing more is funded, where its organization's budget is the reason; the organization is told once."""
    if tightest is None or not by_allowance(rate, limits, reason):
        return ""
    alerts.tell_spent(session, tightest, now)
    return tightest.spent_words


def _require_first(rate: Rate, limits: Limits, tightest: budgets.Budget | None) -> Funded:
    """The first window, or a refusal in words."""
    funded = next_window(rate, limits)
    if isinstance(funded, Funded):
        return funded
    if tightest is not None and limits.allowance_microusd is not None and by_allowance(rate, limits, funded):
        raise budgets.refusal(rate, longest(rate, limits), tightest, limits.allowance_microusd)
    if funded is not Reason.STOPPED_BALANCE_EXHAUSTED:
        detail = f"it pays for less than {rate.least} of this job at its highest price"
        raise InvalidInput(f"max_total is too small: {detail}", errors=[FieldError("/budget/max_total", detail)])
    seconds = longest(rate, limits)
    needed, available = rate.hold_microusd(seconds), limits.available_microusd
    missing = format_usdc(needed - available)
    raise InsufficientFunds(
        f"{format_usdc(needed)} USDC must be held for the first {seconds} seconds of this job, "
        f"and {format_usdc(available)} USDC is available",
        remedy=f"deposit at least {missing} USDC: gridbay deposit {missing}; or lower max_price or max_duration",
    )


def _terms_row(job: JobTerms, now: datetime) -> JobTermsRow:
    return JobTermsRow(
        job_id=job.job_id,
        organization_id=job.organization_id,
        unit=job.unit,
        quantity_milli=job.quantity_milli,
        price_limit_microusd_per_unit_hour=job.price_limit_microusd_per_unit_hour,
        max_total_microusd=job.max_total_microusd,
        max_duration_seconds=job.max_duration_seconds,
        remaining_seconds=job.max_duration_seconds,
        labels=list(job.labels) or None,
        created_at=now,
    )


def _rate(terms: JobTermsRow, config: Settings) -> Rate:
    """Of a first window."""
    return Rate(terms.quantity_milli, terms.price_limit_microusd_per_unit_hour, config.minimum_seconds)


def _lock_organizations(session: Session, organization_ids: Sequence[str]) -> posting.Locked:
    return posting.lock(session, _accounts_of(organization_ids))


def _accounts_of(organization_ids: Sequence[str]) -> list[str]:
    return [name(owner) for owner in organization_ids for name in (accounts.available, accounts.held)]


def _lock_terms(session: Session, job_id: str) -> JobTermsRow:
    """Raises NotReady for a job that billing has not heard of."""
    terms = _lock_jobs(session, [job_id]).get(job_id)
    if terms is None:
        raise NotReady(f"{job_id} is not known to billing yet")
    return terms


def _lock_jobs(session: Session, job_ids: Collection[str]) -> dict[str, JobTermsRow]:
    return {terms.job_id: terms for (terms,) in _JOBS.rows(session, {"jobs": list(job_ids)})}


def _leases_of(session: Session, job_ids: Collection[str]) -> Counter[str]:
    """How many leases of each job billing knows."""
    return Counter({row[0]: row[1] for row in _LEASE_COUNTS.rows(session, {"jobs": list(job_ids)})})


def _is_held(session: Session, job_id: str, attempt_number: int) -> bool:
    of_attempt = exists().where(HoldRow.job_id == job_id, HoldRow.attempt_number == attempt_number)
    return bool(session.scalar(select(of_attempt)))


def _has_unsettled(session: Session, job_id: str) -> bool:
    unsettled = exists().where(MeteredLeaseRow.job_id == job_id, MeteredLeaseRow.settled_at.is_(None))
    return bool(session.scalar(select(unsettled)))
