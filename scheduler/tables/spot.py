"""Attempts of spot jobs: what was bid, and what interrupted them."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from infra.database import Base, Timestamp


class SpotAttempt(Base):
    """Beside the attempt, which has the price that is paid. bid, asked: what the job bid and the offer asked then, in
    micro-USDC for a unit and hour. ended_at: None while the attempt lives. reclaimed_at: when it was told to make room;
    outbid_by: for that bid, None: for a job that pays what is asked."""

    __tablename__ = "spot_attempts"
    __table_args__ = (
        Index("ix_spot_attempts_live", "attempt_id", postgresql_where=text("ended_at IS NULL")),
        Index("ix_spot_attempts_job_id", "job_id"),
    )

    attempt_id: Mapped[str] = mapped_column(ForeignKey("attempts.id"), primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    bid_microusd_per_unit_hour: Mapped[int]
    asked_microusd_per_unit_hour: Mapped[int]
    ended_at: Mapped[datetime | None] = mapped_column(Timestamp)
    reclaimed_at: Mapped[datetime | None] = mapped_column(Timestamp)
    outbid_by_microusd_per_unit_hour: Mapped[int | None]
