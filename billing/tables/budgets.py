"""What organizations may spend in an hour, a day or a month, what of it is used, and what they were told of it."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from infra.database import Base, Timestamp


class BudgetRow(Base):
    """A limit on what windows of an organization's jobs are funded with in each period of the calendar, UTC.

    label: of the jobs that it binds; empty: all of them.
    """

    __tablename__ = "budgets"
    __table_args__ = (
        UniqueConstraint("organization_id", "label", "period"),
        CheckConstraint("period IN ('hour', 'day', 'month')", name="period"),
        CheckConstraint("limit_microusd >= 0", name="amount"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    organization_id: Mapped[str]
    label: Mapped[str]
    period: Mapped[str]
    limit_microusd: Mapped[int]
    changed_at: Mapped[datetime] = mapped_column(Timestamp)


class BudgetPeriodRow(Base):
    """What of a budget is held or charged in the period that began then; the trigger holds_counted keeps it."""

    __tablename__ = "budget_periods"
    __table_args__ = (CheckConstraint("used_microusd >= 0", name="amount"),)

    budget_id: Mapped[str] = mapped_column(ForeignKey("budgets.id", ondelete="CASCADE"), primary_key=True)
    starts_at: Mapped[datetime] = mapped_column(Timestamp, primary_key=True)
    used_microusd: Mapped[int]


class MoneyWatchRow(Base):
    """From when on an organization wants to be told, and since when a condition that it was told of lasts."""

    __tablename__ = "money_watches"
    __table_args__ = (CheckConstraint("low_microusd >= 0 AND forecast_hours >= 0", name="amounts"),)

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    low_microusd: Mapped[int]
    forecast_hours: Mapped[int]


class MoneyEventRow(Base):
    """Something that an organization is told of its money, once: while it lasts (over_at is None) it is not said again.

    subject: the budget it is about, empty for the balance.
    """

    __tablename__ = "money_events"
    __table_args__ = (
        CheckConstraint("kind IN ('balance_low', 'balance_forecast', 'budget_low', 'budget_spent')", name="kind"),
        Index(
            "uq_money_events_lasting",
            "organization_id",
            "kind",
            "subject",
            unique=True,
            postgresql_where=text("over_at IS NULL"),
        ),
        Index("ix_money_events_organization_id", "organization_id", "told_at", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    organization_id: Mapped[str]
    kind: Mapped[str]
    subject: Mapped[str]
    detail: Mapped[str]
    told_at: Mapped[datetime] = mapped_column(Timestamp)
    over_at: Mapped[datetime | None] = mapped_column(Timestamp)
