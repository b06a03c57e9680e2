"""Leases: what of a node is bound to one attempt. The database itself refuses to lease a GPU twice."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, text
from sqlalchemy.dialects.postgresql import INT4MULTIRANGE, ExcludeConstraint, Range
from sqlalchemy.dialects.postgresql.ranges import MultiRange
from sqlalchemy.orm import Mapped, mapped_column

from infra.database import Base, Timestamp
from market.resources import Unit
from scheduler.tables.columns import UNIT

WHOLE_GPU: MultiRange[int] = MultiRange([Range(0, 1000)])
"""A slice is in thousandths of a GPU."""
WHOLE_GPU_TEXT = "{[0,1000)}"
"""The same as PostgreSQL writes it."""


class Lease(Base):
    """Bound from granted_at on, funded until held_until, holding its resources until released_at.

    job_id and node_id repeat its attempt's. price_microusd_per_unit_hour is frozen when the lease begins; on simulated
    nodes it is 0.
    """

    __tablename__ = "leases"
    __table_args__ = (
        Index("ix_leases_held", "node_id", postgresql_where=text("released_at IS NULL")),
        Index("ix_leases_released_at", "released_at"),
        Index("ix_leases_held_until", "held_until", postgresql_where=text("released_at IS NULL")),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    attempt_id: Mapped[str] = mapped_column(ForeignKey("attempts.id"), unique=True)
    job_id: Mapped[str]
    node_id: Mapped[str]
    cpu_milli: Mapped[int]
    memory_bytes: Mapped[int]
    disk_bytes: Mapped[int]
    unit: Mapped[Unit] = mapped_column(UNIT)
    quantity_milli: Mapped[int]
    price_microusd_per_unit_hour: Mapped[int]
    simulated: Mapped[bool]
    granted_at: Mapped[datetime] = mapped_column(Timestamp)
    held_until: Mapped[datetime] = mapped_column(Timestamp)
    released_at: Mapped[datetime | None] = mapped_column(Timestamp)


class LeaseComponents(Base):
    """What the price of a lease was made of, where more is in it than the unit's own (market/components.py); written
    once, beside the lease, whose attempt it names."""

    __tablename__ = "lease_components"

    attempt_id: Mapped[str] = mapped_column(ForeignKey("attempts.id"), primary_key=True)
    unit_microusd_per_hour: Mapped[int]
    cpu_milli: Mapped[int]
    cpu_microusd_per_hour: Mapped[int]
    memory_bytes: Mapped[int]
    memory_microusd_per_gib_hour: Mapped[int]
    disk_bytes: Mapped[int]
    disk_microusd_per_gib_hour: Mapped[int]
    bid_microusd_per_unit_hour: Mapped[int]


class LeaseGpu(Base):
    """A slice of a GPU that a lease holds; released together with its lease."""

    __tablename__ = "lease_gpus"
    __table_args__ = (
        ExcludeConstraint(
            ("gpu_id", "="),
            ("slice", "&&"),
            using="gist",
            where=text("released_at IS NULL"),
            name="ex_lease_gpus_never_twice",
        ),
        Index("ix_lease_gpus_held", "gpu_id", postgresql_where=text("released_at IS NULL")),
    )

    lease_id: Mapped[str] = mapped_column(ForeignKey("leases.id"), primary_key=True)
    gpu_id: Mapped[int] = mapped_column(ForeignKey("gpus.id"), primary_key=True)
    slice: Mapped[MultiRange[int]] = mapped_column(INT4MULTIRANGE)
    released_at: Mapped[datetime | None] = mapped_column(Timestamp)
