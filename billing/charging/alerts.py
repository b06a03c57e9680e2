"""What organizations are told of their money: a low balance, one that ends soon, a budget that is nearly or quite used.

Each is told once when it comes to pass, and again only after it was over.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from billing.charging.budgets import Budget, Period
from billing.tables.budgets import MoneyEventRow, MoneyWatchRow
from infra.bulk import insert_rows
from infra.settings import Settings, settings
from infra.statements import Statement
from infra.wakeups import after_commit
from market.ids import new_id
from market.money import format_usdc

LISTED_MAX = 200
TOLD_MAX = 1_000
"""New events of one look; what is over goes with the next."""
USED_SHARE_PERCENT = 80
"""Of a budget; from there on it is nearly used."""


class MoneyKind(StrEnum):
    """What an event of an organization's money says."""

    BALANCE_LOW = "balance_low"
    BALANCE_FORECAST = "balance_forecast"
    BUDGET_LOW = "budget_low"
    BUDGET_SPENT = "budget_spent"


@dataclass(frozen=True, slots=True)
class Watch:
    """An organization is told when less than low_microusd is available, or what is available lasts for less than
    forecast_hours at what its jobs cost now; 0 of either: never."""

    low_microusd: int
    forecast_hours: int


@dataclass(frozen=True, slots=True)
class MoneyEvent:
    """subject: a budget's id, or empty. over_at: None while it lasts."""

    event_id: str
    kind: MoneyKind
    subject: str
    detail: str
    told_at: datetime
    over_at: datetime | None


# A lease that is due for no further window asks for no more money, so that it adds nothing to the rate.
_CONDITIONS = """
    burning AS (
        SELECT organization_id, sum(quantity_milli * price_microusd_per_unit_hour) / 1000 AS hourly
        FROM metered_leases WHERE renew_at IS NOT NULL GROUP BY 1
    ), watched AS (
        SELECT split_part(a.id, ':', 2) AS organization_id, a.balance_microusd AS available,
            coalesce(w.low_microusd, cast(:low AS bigint)) AS low,
            coalesce(w.forecast_hours, cast(:hours AS bigint)) AS hours, coalesce(b.hourly, 0) AS hourly
        FROM accounts a
        LEFT JOIN money_watches w ON w.organization_id = split_part(a.id, ':', 2)
        LEFT JOIN burning b ON b.organization_id = split_part(a.id, ':', 2)
        WHERE a.kind = 'available'
    ), used AS (
        SELECT b.*, p.used_microusd, p.starts_at FROM budgets b JOIN budget_periods p ON p.budget_id = b.id
            AND p.starts_at = date_trunc(b.period, cast(:now AS timestamptz), 'UTC')
        WHERE p.used_microusd * 100 >= b.limit_microusd * cast(:percent AS bigint)
    ), lasting AS (
        SELECT organization_id, 'balance_low' AS kind, '' AS subject, available, low AS bound, hourly,
            NULL AS label, NULL AS period, NULL::timestamptz AS starts_at
        FROM watched WHERE available < low
        UNION ALL SELECT organization_id, 'balance_forecast', '', available, hours, hourly, NULL, NULL, NULL
        FROM watched WHERE hourly > 0 AND available < hourly * hours
        UNION ALL SELECT organization_id, 'budget_low', id, used_microusd, limit_microusd, 0, label, period, starts_at
        FROM used
    )"""
_END = Statement(
    f"""WITH {_CONDITIONS}
    UPDATE money_events e SET over_at = :now WHERE over_at IS NULL AND CASE WHEN e.kind = 'budget_spent'
        THEN NOT EXISTS (SELECT FROM budgets b WHERE b.id = e.subject AND b.changed_at <= e.told_at
            AND date_trunc(b.period, cast(:now AS timestamptz), 'UTC') <= e.told_at)
        ELSE NOT EXISTS (SELECT FROM lasting l WHERE l.organization_id = e.organization_id AND l.kind = e.kind
            AND l.subject = e.subject) END
    """  # noqa: S608 (constants)
)
_NEW = Statement(
    f"""WITH {_CONDITIONS}
    SELECT l.* FROM lasting l WHERE NOT EXISTS (SELECT FROM money_events e WHERE e.over_at IS NULL
        AND e.organization_id = l.organization_id AND e.kind = l.kind AND e.subject = l.subject)
    ORDER BY l.organization_id LIMIT :most
    """  # noqa: S608 (constants)
)


def watch(session: Session, now: datetime, config: Settings | None = None) -> int:
    """Tell what has come to pass since the last look, and note what is over; returns how much was told."""
    config = config or settings()
    asked = {
        "low": config.low_balance_microusd,
        "hours": config.forecast_hours,
        "percent": USED_SHARE_PERCENT,
        "now": now,
        "most": TOLD_MAX,
    }
    _END.rows(session, asked)
    new = _NEW.rows(session, asked)
    insert_rows(
        session, MoneyEventRow, [_row(row.organization_id, row.kind, row.subject, _words(row), now) for row in new]
    )
    after_commit(session, *{f"organization:{row.organization_id}" for row in new})
    return len(new)


def tell_spent(session: Session, budget: Budget, now: datetime) -> None:
    """A window was refused for this budget; said once until its period ends, or it is changed."""
    session.execute(
        update(MoneyEventRow)
        .where(
            MoneyEventRow.organization_id == budget.organization_id,
            MoneyEventRow.kind == MoneyKind.BUDGET_SPENT,
            MoneyEventRow.subject == budget.budget_id,
            MoneyEventRow.over_at.is_(None),
            MoneyEventRow.told_at < budget.starts_at,
        )
        .values(over_at=now)
    )
    row = _row(budget.organization_id, MoneyKind.BUDGET_SPENT, budget.budget_id, budget.spent_words, now)
    session.execute(insert(MoneyEventRow).values(row).on_conflict_do_nothing())


def events(
    session: Session, organization_id: str, *, limit: int = LISTED_MAX, before: tuple[datetime, str] | None = None
) -> list[MoneyEvent]:
    """What an organization was told, newest first. before: (told_at, id) of the last one of the page before."""
    query = select(MoneyEventRow).where(MoneyEventRow.organization_id == organization_id)
    if before is not None:
        query = query.where(tuple_(MoneyEventRow.told_at, MoneyEventRow.id) < tuple_(*before))
    rows = session.scalars(query.order_by(MoneyEventRow.told_at.desc(), MoneyEventRow.id.desc()).limit(limit))
    return [_event(row) for row in rows]


def get_watch(session: Session, organization_id: str, config: Settings | None = None) -> Watch:
    """When an organization is told; the market's usual values unless it has set its own."""
    row = session.get(MoneyWatchRow, organization_id)
    if row is None:
        config = config or settings()
        return Watch(config.low_balance_microusd, config.forecast_hours)
    return Watch(row.low_microusd, row.forecast_hours)


def set_watch(session: Session, organization_id: str, wanted: Watch) -> None:
    values = {"low_microusd": wanted.low_microusd, "forecast_hours": wanted.forecast_hours}
    statement = insert(MoneyWatchRow).values(organization_id=organization_id, **values)
    session.execute(statement.on_conflict_do_update(index_elements=["organization_id"], set_=values))


def _row(organization_id: str, kind: str, subject: str, detail: str, now: datetime) -> dict[str, object]:
    return {
        "id": new_id("evt"),
        "organization_id": organization_id,
        "kind": str(kind),
        "subject": subject,
        "detail": detail,
        "told_at": now,
    }


def _words(row: Any) -> str:
    available = format_usdc(int(row.available))
    if row.kind == MoneyKind.BALANCE_LOW:
        return f"{available} USDC is available, less than {format_usdc(int(row.bound))} USDC"
    if row.kind == MoneyKind.BALANCE_FORECAST:
        hourly = int(row.hourly)
        minutes = int(row.available) * 60 // hourly
        lasts = f"{minutes // 60} h {minutes % 60} min"
        return f"{available} USDC is available; at {format_usdc(hourly)} USDC an hour, as now, that lasts for {lasts}"
    budget = Budget("", "", row.label, Period(row.period), int(row.bound), int(row.available), row.starts_at)
    return f"{available} USDC of {budget.words} is used"


def _event(row: MoneyEventRow) -> MoneyEvent:
    return MoneyEvent(row.id, MoneyKind(row.kind), row.subject, row.detail, row.told_at, row.over_at)
