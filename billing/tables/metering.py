"""Leases as billing sees them, and the readings that say how long each ran."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from infra.database import Base, Timestamp


class MeteredLeaseRow(Base):
    """A lease with its frozen price, discount and fee, how far it is funded, and how far it is billed.

    minimum_ms: for how long it is charged at least; frozen, too, but that an end for which its customer is not to blame
    makes it 0;
    funded_until: the end of its last window; renew_at: when the next one is due (None: no more will be funded);
    metered_ms and charged_microusd: what its lines cover so far; settled_at: every window of it is settled;
    credit_due: whose fault its end was, while the credit that follows from it is not made;
    trace: the request that submitted the job.
    """

    __tablename__ = "metered_leases"
    __table_args__ = (
        UniqueConstraint("job_id", "attempt_number"),
        CheckConstraint("metered_ms >= 0 AND charged_microusd >= 0 AND minimum_ms >= 0", name="counters"),
        CheckConstraint("discount_basis_points BETWEEN 0 AND fee_basis_points", name="discount"),
        Index("ix_metered_leases_renew", "renew_at", postgresql_where=text("renew_at IS NOT NULL")),
        Index("ix_metered_leases_credit_due", "lease_id", postgresql_where=text("credit_due IS NOT NULL")),
        Index(
            "ix_metered_leases_ended", "lease_id", postgresql_where=text("ended_at IS NOT NULL AND settled_at IS NULL")
        ),
    )

    lease_id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("job_terms.job_id"))
    organization_id: Mapped[str]
    attempt_id: Mapped[str]
    attempt_number: Mapped[int]
    node_id: Mapped[str]
    provider_id: Mapped[str]
    unit: Mapped[str]
    quantity_milli: Mapped[int]
    price_microusd_per_unit_hour: Mapped[int]
    fee_basis_points: Mapped[int]
    discount_basis_points: Mapped[int] = mapped_column(server_default=text("0"))
    minimum_ms: Mapped[int] = mapped_column(server_default=text("0"))
    simulated: Mapped[bool]
    trace: Mapped[str | None]
    granted_at: Mapped[datetime] = mapped_column(Timestamp)
    funded_until: Mapped[datetime] = mapped_column(Timestamp)
    window_count: Mapped[int]
    renew_at: Mapped[datetime | None] = mapped_column(Timestamp)
    funding_refused_at: Mapped[datetime | None] = mapped_column(Timestamp)
    ended_at: Mapped[datetime | None] = mapped_column(Timestamp)
    ended_noticed_at: Mapped[datetime | None] = mapped_column(Timestamp)
    settled_at: Mapped[datetime | None] = mapped_column(Timestamp)
    credit_due: Mapped[str | None]
    metered_ms: Mapped[int] = mapped_column(server_default=text("0"))
    charged_microusd: Mapped[int] = mapped_column(server_default=text("0"))


class MeteredComponentsRow(Base):
    """What the price of a lease was made of, where more is in it than the unit's own (market/components.py). Frozen:
    every line of the lease is published with it."""

    __tablename__ = "metered_components"

    lease_id: Mapped[str] = mapped_column(ForeignKey("metered_leases.lease_id"), primary_key=True)
    unit_microusd_per_hour: Mapped[int]
    cpu_milli: Mapped[int]
    cpu_microusd_per_hour: Mapped[int]
    memory_bytes: Mapped[int]
    memory_microusd_per_gib_hour: Mapped[int]
    disk_bytes: Mapped[int]
    disk_microusd_per_gib_hour: Mapped[int]
    bid_microusd_per_unit_hour: Mapped[int]


class ReadingStreamRow(Base):
    """One unbroken chain of a lease's readings; a node that lost its spool begins another.

    durable_*: how far it reaches without a gap, which is all that is billed; stored_through: the highest number
    stored, whatever is missing below it. lease_id is no foreign key: the first readings may come before billing has
    heard of the lease, and count once it has.
    """

    __tablename__ = "reading_streams"
    __table_args__ = (
        Index("ix_reading_streams_lease_id", "lease_id"),
        Index("ix_reading_streams_node_id", "node_id", "finished_at"),
        CheckConstraint("stored_through >= durable_sequence", name="watermark"),
        # Each merge updates it: room for that on its own page.
        {"postgresql_with": {"fillfactor": 50}},
    )

    stream_id: Mapped[str] = mapped_column(primary_key=True)
    node_id: Mapped[str]
    lease_id: Mapped[str]
    stored_through: Mapped[int] = mapped_column(server_default=text("0"))
    durable_sequence: Mapped[int] = mapped_column(server_default=text("0"))
    durable_run_ms: Mapped[int] = mapped_column(server_default=text("0"))
    durable_hash: Mapped[str]
    durable_received_at: Mapped[datetime | None] = mapped_column(Timestamp)
    created_at: Mapped[datetime] = mapped_column(Timestamp)
    finished_at: Mapped[datetime | None] = mapped_column(Timestamp)


class ReadingRow(Base):
    """A reading as it came, in any order.

    stream_id is no foreign key, which would look its stream up once a reading: merges hold the stream locked.
    """

    __tablename__ = "readings"

    stream_id: Mapped[str] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(primary_key=True)
    run_ms: Mapped[int]
    cpu_ms: Mapped[int]
    gpu_busy_ms: Mapped[int]
    memory_peak_bytes: Mapped[int]
    taken_at_ms: Mapped[int]
    final: Mapped[bool]
    previous_hash: Mapped[str]
    hash: Mapped[str]
    received_at: Mapped[datetime] = mapped_column(Timestamp)


class ReadingRefusalRow(Base):
    """How many readings of a node were refused, by cause, with the last one in words."""

    __tablename__ = "reading_refusals"

    node_id: Mapped[str] = mapped_column(primary_key=True)
    cause: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int]
    last_detail: Mapped[str]
    last_at: Mapped[datetime] = mapped_column(Timestamp)
