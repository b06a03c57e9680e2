"""Budgets: what an organization may spend in an hour, a day or a month, on all its jobs or on those with a label.

A window counts in the period in which it begins: with what is held for it, then with what was captured of that.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from sqlalchemy import any_, exists, func, insert, literal, literal_column, select, update
from sqlalchemy.orm import Session

from billing.charging.windows import Rate
from billing.ledger import accounts, posting
from billing.tables.budgets import BudgetPeriodRow, BudgetRow
from billing.tables.funding import HoldRow, JobTermsRow
from billing.tables.ledger import AccountRow
from infra.statements import Statement
from market.error_codes import Kind
from market.errors import Conflict, MarketError, NotFound
from market.ids import new_id
from market.money import format_usdc

BUDGETS_MAX = 200
"""Of one organization."""


AHEAD_MAX = timedelta(days=1)
"""Longer than any window is funded before it begins."""


class BudgetSpent(MarketError):
    kind, code = Kind.NO_FUNDS, "budget_spent"


class Period(StrEnum):
    """A stretch of the calendar, in UTC."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"

    def end(self, starts_at: datetime) -> datetime:
        """When the period that began then is over."""
        if self is Period.MONTH:
            return (starts_at + timedelta(days=31)).replace(day=1)
        return starts_at + (timedelta(hours=1) if self is Period.HOUR else timedelta(days=1))


@dataclass(frozen=True, slots=True)
class Budget:
    """A budget and its period of now. label: empty for one that binds every job."""

    budget_id: str
    organization_id: str
    label: str
    period: Period
    limit_microusd: int
    used_microusd: int
    starts_at: datetime

    @property
    def left_microusd(self) -> int:
        return max(0, self.limit_microusd - self.used_microusd)

    @property
    def ends_at(self) -> datetime:
        return self.period.end(self.starts_at)

    @property
    def words(self) -> str:
        """Such as "the budget of 5.00 USDC an hour for team=vision"."""
        article = "an" if self.period is Period.HOUR else "a"
        whose = f" for {self.label}" if self.label else ""
        return f"the budget of {format_usdc(self.limit_microusd)} USDC {article} {self.period}{whose}"

    @property
    def spent_words(self) -> str:
        """Why nothing more is funded by it."""
        return f"{self.words} is used up until {self.ends_at:%Y-%m-%d %H:%M} UTC"


class Allowances:
    """What is left of the budgets of some organizations while their accounts are locked."""

    def __init__(self, budgets: Iterable[Budget] = ()) -> None:
        self._budgets = list(budgets)
        self._left = {_key(budget): budget.left_microusd for budget in self._budgets}

    def binding(self, organization_id: str, labels: Collection[str] | None, begins_at: datetime) -> list[Budget]:
        """Those that bind a window that begins then, of a job with these labels."""
        bound = ("", *(labels or ()))
        return [
            item
            for item in self._budgets
            if item.organization_id == organization_id
            and item.label in bound
            and item.starts_at <= begins_at < item.ends_at
        ]

    def tightest(self, binding: Sequence[Budget]) -> Budget | None:
        """The one of them with the least left."""
        return min(binding, key=lambda budget: self._left[_key(budget)], default=None)

    def left(self, budget: Budget | None) -> int | None:
        """In micro-USDC; None without a budget."""
        return None if budget is None else self._left[_key(budget)]

    def take(self, binding: Sequence[Budget], amount_microusd: int) -> list[str] | None:
        """Count a hold in them; what its row says of it."""
        for budget in binding:
            self._left[_key(budget)] -= amount_microusd
        return [budget.budget_id for budget in binding] or None


def _key(budget: Budget) -> tuple[str, datetime]:
    return budget.budget_id, budget.starts_at


NO_BUDGETS = Allowances()

_CURRENT = Statement(
    """
    SELECT id, organization_id, label, period, limit_microusd, coalesce(used_microusd, 0) AS used_microusd,
        begun.starts_at
    FROM (SELECT DISTINCT b.*, date_trunc(period, moment, 'UTC') AS starts_at
        FROM budgets b, unnest(cast(:moments AS timestamptz[])) AS moment
        WHERE organization_id = ANY (cast(:organizations AS text[]))) AS begun
    LEFT JOIN budget_periods p ON p.budget_id = id AND p.starts_at = begun.starts_at
    ORDER BY organization_id, label, id, begun.starts_at
    """
)


def allowances(session: Session, locked: posting.Locked, begin_at: Sequence[datetime]) -> Allowances:
    """Of the organizations among these locked accounts, in the periods of windows that begin then.

    Asks nothing where none has a budget.
    """
    owners = sorted({account_id.split(":")[1] for account_id in locked.budgeted})
    return Allowances(_current(session, owners, begin_at)) if owners else NO_BUDGETS


def refusal(rate: Rate, seconds: int, budget: Budget, left_microusd: int) -> BudgetSpent:
    """Why a job's first window is not funded."""
    return BudgetSpent(
        f"{format_usdc(rate.hold_microusd(seconds))} USDC must be held for the first {seconds} seconds of this job, "
        f"and {budget.words} has {format_usdc(left_microusd)} USDC left until {budget.ends_at:%Y-%m-%d %H:%M} UTC",
        remedy="wait until then, have an owner raise it (gridbay budget set), or lower max_price or max_duration",
    )


def listed(session: Session, organization_id: str, now: datetime) -> list[Budget]:
    """An organization's budgets: those of all jobs first."""
    return _current(session, [organization_id], [now])


def set_budget(
    session: Session, organization_id: str, label: str, period: Period, limit_microusd: int, now: datetime
) -> Budget:
    """Set a budget, or its limit anew; it binds from the next window on. Raises Conflict beyond BUDGETS_MAX.

    A new one counts what was funded since its period began.
    """
    _lock(session, organization_id)
    row = session.scalar(
        select(BudgetRow)
        .where(BudgetRow.organization_id == organization_id, BudgetRow.label == label, BudgetRow.period == period)
        .execution_options(populate_existing=True)
    )
    # No later than a window that this transaction has waited for: what is funded from now on obeys the new limit.
    newest = session.scalar(select(func.max(HoldRow.created_at)).where(HoldRow.organization_id == organization_id))
    changed_at = max(now, newest or now)
    if row is not None:
        row.limit_microusd, row.changed_at = limit_microusd, changed_at
        session.flush()
    else:
        row = _add(session, organization_id, label, period, limit_microusd, changed_at)
        _count_funded(session, row, now)
    return next(item for item in listed(session, organization_id, now) if item.budget_id == row.id)


def remove_budget(session: Session, organization_id: str, budget_id: str) -> None:
    """It binds no window from now on. Raises NotFound."""
    _lock(session, organization_id)
    row = session.get(BudgetRow, budget_id, populate_existing=True)
    if row is None or row.organization_id != organization_id:
        raise NotFound("there is no such budget here")
    session.delete(row)
    session.flush()
    others = exists().where(BudgetRow.organization_id == organization_id)
    session.execute(
        update(AccountRow).where(AccountRow.id == accounts.available(organization_id), ~others).values(budgeted=False)
    )


def _lock(session: Session, organization_id: str) -> None:
    """Nobody funds a window of it meanwhile: whoever does locks this account first.

    Its open holds come before, as for whoever settles them.
    """
    unsettled = select(HoldRow.id).where(HoldRow.organization_id == organization_id, HoldRow.settled_at.is_(None))
    session.execute(unsettled.order_by(HoldRow.id).with_for_update(key_share=True)).all()
    posting.lock(session, [accounts.available(organization_id), accounts.held(organization_id)])


def _add(
    session: Session, organization_id: str, label: str, period: Period, limit_microusd: int, changed_at: datetime
) -> BudgetRow:
    of_organization = select(func.count()).where(BudgetRow.organization_id == organization_id)
    if (session.scalar(of_organization) or 0) >= BUDGETS_MAX:
        raise Conflict(
            f"an organization has at most {BUDGETS_MAX} budgets", remedy="remove one: gridbay budget remove ID"
        )
    row = BudgetRow(
        id=new_id("bud"),
        organization_id=organization_id,
        label=label,
        period=period.value,
        limit_microusd=limit_microusd,
        changed_at=changed_at,
    )
    session.add(row)
    session.execute(
        update(AccountRow).where(AccountRow.id == accounts.available(organization_id)).values(budgeted=True)
    )
    session.flush()
    return row


def _count_funded(session: Session, row: BudgetRow, now: datetime) -> None:
    """What was funded from the present period on: settled holds as sums, open ones by name, since they will settle."""
    begins_at = func.coalesce(HoldRow.starts_at, HoldRow.created_at)
    starts_at = session.scalar(select(func.date_trunc(row.period, now, "UTC")))
    assert starts_at is not None
    funded = [
        HoldRow.organization_id == row.organization_id,
        HoldRow.created_at >= starts_at - AHEAD_MAX,
        begins_at >= starts_at,
    ]
    if row.label:
        labelled = exists().where(JobTermsRow.job_id == HoldRow.job_id, literal(row.label) == any_(JobTermsRow.labels))
        funded.append(labelled)
    period = func.date_trunc(literal_column(f"'{row.period}'"), begins_at, literal_column("'UTC'"))
    settled = (
        select(literal(row.id), period, func.sum(HoldRow.captured_microusd))
        .where(*funded, HoldRow.settled_at.is_not(None))
        .group_by(period)
    )
    session.execute(insert(BudgetPeriodRow).from_select(["budget_id", "starts_at", "used_microusd"], settled))
    session.execute(
        update(HoldRow)
        .where(*funded, HoldRow.settled_at.is_(None))
        .values(budgets=func.array_append(HoldRow.budgets, row.id))
        .execution_options(synchronize_session=False)
    )


def _current(session: Session, organization_ids: Sequence[str], moments: Sequence[datetime]) -> list[Budget]:
    asked = {"organizations": list(organization_ids), "moments": sorted({str(moment) for moment in moments})}
    rows = _CURRENT.rows(session, asked)
    return [
        Budget(
            budget_id=row.id,
            organization_id=row.organization_id,
            label=row.label,
            period=Period(row.period),
            limit_microusd=row.limit_microusd,
            used_microusd=row.used_microusd,
            starts_at=row.starts_at.astimezone(UTC),
        )
        for row in rows
    ]
