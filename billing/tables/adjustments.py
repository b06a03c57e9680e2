"""Corrections of usage lines that are posted: each reverses a part of one, and is never changed itself."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from infra.database import Base, Timestamp


class AdjustmentRow(Base):
    """So much of a line is given back. number: 1, 2, ... of its line.

    owed_microusd: the part of the provider's share that was not payable any more, and that the platform's fees have
    laid out; recovered_microusd: what of it was taken from later earnings. borne_microusd: the part of it that the
    platform bears for good. by: the operator's token, or a rule's name.
    """

    __tablename__ = "adjustments"
    __table_args__ = (
        UniqueConstraint("line_id", "number"),
        CheckConstraint("amount_microusd > 0 AND number >= 1", name="amount"),
        CheckConstraint("amount_microusd = provider_microusd + fee_microusd + rounding_microusd", name="split"),
        CheckConstraint("provider_microusd >= 0 AND fee_microusd >= 0 AND rounding_microusd >= 0", name="shares"),
        CheckConstraint(
            "owed_microusd >= 0 AND borne_microusd >= 0 AND owed_microusd + borne_microusd <= provider_microusd "
            "AND recovered_microusd BETWEEN 0 AND owed_microusd",
            name="owed",
        ),
        CheckConstraint("cause IN ('operator', 'provider', 'platform')", name="cause"),
        Index("ix_adjustments_job_id", "job_id"),
        Index("ix_adjustments_owed", "provider_id", "id", postgresql_where=text("recovered_microusd < owed_microusd")),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    line_id: Mapped[str] = mapped_column(ForeignKey("usage_lines.id"))
    number: Mapped[int]
    job_id: Mapped[str]
    organization_id: Mapped[str]
    provider_id: Mapped[str]
    amount_microusd: Mapped[int]
    provider_microusd: Mapped[int]
    fee_microusd: Mapped[int]
    rounding_microusd: Mapped[int]
    owed_microusd: Mapped[int]
    borne_microusd: Mapped[int]
    recovered_microusd: Mapped[int] = mapped_column(server_default=text("0"))
    cause: Mapped[str]
    reason: Mapped[str]
    by: Mapped[str]
    adjusted_at: Mapped[datetime] = mapped_column(Timestamp)
