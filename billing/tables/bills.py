"""Usage lines and the epochs that close over them."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from infra.database import Base, Timestamp


class UsageLineRow(Base):
    """One captured window: what it charged and how that was split. It never changes; its epoch's close stamps it."""

    __tablename__ = "usage_lines"
    __table_args__ = (
        UniqueConstraint("lease_id", "window_number"),
        UniqueConstraint("epoch", "leaf_index"),
        CheckConstraint("amount_microusd = provider_microusd + fee_microusd + rounding_microusd", name="split"),
        CheckConstraint("provider_microusd >= 0 AND fee_microusd >= 0 AND rounding_microusd >= 0", name="shares"),
        CheckConstraint("from_ms >= 0 AND to_ms >= from_ms AND minimum_ms >= 0", name="time"),
        CheckConstraint("discount_basis_points BETWEEN 0 AND fee_basis_points", name="discount"),
        CheckConstraint(
            "(epoch IS NULL) = (leaf_index IS NULL) AND (epoch IS NULL) = (leaf_hash IS NULL)", name="stamp"
        ),
        Index("ix_usage_lines_job_id", "job_id"),
        Index("ix_usage_lines_captured_at", "captured_at"),
        Index("ix_usage_lines_open", "id", postgresql_where=text("epoch IS NULL")),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    window_id: Mapped[str] = mapped_column(ForeignKey("windows.id"), unique=True)
    lease_id: Mapped[str] = mapped_column(ForeignKey("metered_leases.lease_id"))
    window_number: Mapped[int]
    job_id: Mapped[str] = mapped_column(ForeignKey("job_terms.job_id"))
    attempt_number: Mapped[int]
    organization_id: Mapped[str]
    provider_id: Mapped[str]
    unit: Mapped[str]
    quantity_milli: Mapped[int]
    price_microusd_per_unit_hour: Mapped[int]
    fee_basis_points: Mapped[int]
    discount_basis_points: Mapped[int] = mapped_column(server_default=text("0"))
    from_ms: Mapped[int]
    to_ms: Mapped[int]
    minimum_ms: Mapped[int] = mapped_column(server_default=text("0"))
    charged_before_microusd: Mapped[int]
    amount_microusd: Mapped[int]
    provider_microusd: Mapped[int]
    fee_microusd: Mapped[int]
    rounding_microusd: Mapped[int]
    capped: Mapped[bool]
    captured_at: Mapped[datetime] = mapped_column(Timestamp)
    # That it exists and is open is required by the trigger usage_lines_stamp, by set.
    epoch: Mapped[int | None]
    leaf_index: Mapped[int | None]
    leaf_hash: Mapped[str | None]


class EpochRow(Base):
    """A closed epoch: the root over its lines and the secret that salts them. It never changes.

    Within the transaction that closes it, it is open first (no root, no lines counted) and its lines are stamped.
    """

    __tablename__ = "epochs"
    __table_args__ = (
        CheckConstraint(
            "number >= 1 AND line_count >= 0 AND total_microusd >= 0 AND (root = '') = (line_count = 0)", name="counts"
        ),
    )

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    root: Mapped[str]
    line_count: Mapped[int]
    total_microusd: Mapped[int]
    secret: Mapped[bytes]
    closed_at: Mapped[datetime] = mapped_column(Timestamp)


class EpochBlockRow(Base):
    """The root of a block of an epoch's tree (market/merkle.py): a proof needs the leaves of one block alone."""

    __tablename__ = "epoch_blocks"

    epoch: Mapped[int] = mapped_column(ForeignKey("epochs.number"), primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    root: Mapped[str]
