"""What a job may cost, what is held for it, and the windows of time that the holds pay for."""

from datetime import datetime

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, Index, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from infra.database import Base, Timestamp


class JobTermsRow(Base):
    """The limits of a job, over all its attempts.

    remaining_seconds: how long its newest attempt may run; ended_at: when billing learned that the job is final;
    labels: those by which its organization's budgets may bind it, None for none.
    """

    __tablename__ = "job_terms"

    job_id: Mapped[str] = mapped_column(primary_key=True)
    organization_id: Mapped[str]
    unit: Mapped[str]
    quantity_milli: Mapped[int]
    price_limit_microusd_per_unit_hour: Mapped[int]
    max_total_microusd: Mapped[int | None]
    max_duration_seconds: Mapped[int]
    remaining_seconds: Mapped[int]
    labels: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    created_at: Mapped[datetime] = mapped_column(Timestamp)
    ended_at: Mapped[datetime | None] = mapped_column(Timestamp)


class HoldRow(Base):
    """Money set aside for one window of one attempt; settled exactly once: captured in part, the rest given back.

    The first window's hold exists before its attempt does; until then it has no window. budgets: those that it
    counts in (None: none), in the period in which its window begins; the trigger holds_counted keeps their sums.
    starts_at: when that is, if it is not at once.
    """

    __tablename__ = "holds"
    __table_args__ = (
        UniqueConstraint("job_id", "attempt_number", "window_number"),
        CheckConstraint("amount_microusd >= 0 AND seconds > 0", name="amount"),
        CheckConstraint(
            "(settled_at IS NULL) = (captured_microusd IS NULL) AND captured_microusd BETWEEN 0 AND amount_microusd",
            name="captured",
        ),
        Index("ix_holds_open", "job_id", postgresql_where=text("settled_at IS NULL")),
        Index("ix_holds_organization_id", "organization_id", "created_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("job_terms.job_id"))
    organization_id: Mapped[str]
    attempt_number: Mapped[int]
    window_number: Mapped[int]
    seconds: Mapped[int]
    amount_microusd: Mapped[int]
    captured_microusd: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(Timestamp)
    settled_at: Mapped[datetime | None] = mapped_column(Timestamp)
    starts_at: Mapped[datetime | None] = mapped_column(Timestamp)
    budgets: Mapped[list[str] | None] = mapped_column(ARRAY(Text))


class WindowRow(Base):
    """A stretch of a lease's time and the hold that pays for it.

    noticed_over_at: when billing first saw it over; waiting for late readings counts from there, so that an outage
    of our own shortens nobody's time.
    """

    __tablename__ = "windows"
    __table_args__ = (
        UniqueConstraint("lease_id", "number"),
        CheckConstraint("until_at > from_at", name="time"),
        Index("ix_windows_open", "until_at", postgresql_where=text("settled_at IS NULL")),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    lease_id: Mapped[str] = mapped_column(ForeignKey("metered_leases.lease_id"))
    number: Mapped[int]
    hold_id: Mapped[str] = mapped_column(ForeignKey("holds.id"), unique=True)
    from_at: Mapped[datetime] = mapped_column(Timestamp)
    until_at: Mapped[datetime] = mapped_column(Timestamp)
    noticed_over_at: Mapped[datetime | None] = mapped_column(Timestamp)
    settled_at: Mapped[datetime | None] = mapped_column(Timestamp)
