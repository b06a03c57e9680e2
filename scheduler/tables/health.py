"""What stands, and stood, against nodes and their GPUs, and what the GPUs' telemetry was by the minute."""

from datetime import datetime

from sqlalchemy import ARRAY, BigInteger, ForeignKey, Identity, Index, Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from infra.database import Base, Timestamp
from market.health import HealthCode
from scheduler.tables.columns import word


class NodeCondition(Base):
    """One thing that stood from began_at until ended_at (None: it still does). gpu_uuid: "" for the whole node."""

    __tablename__ = "node_conditions"
    __table_args__ = (
        Index(
            "uq_node_conditions_standing",
            "node_id",
            "gpu_uuid",
            "code",
            unique=True,
            postgresql_where=text("ended_at IS NULL"),
        ),
        Index("ix_node_conditions_ended_at", "ended_at"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    node_id: Mapped[str] = mapped_column(ForeignKey("nodes.id"))
    gpu_uuid: Mapped[str]
    code: Mapped[HealthCode] = mapped_column(word(HealthCode))
    detail: Mapped[str]
    began_at: Mapped[datetime] = mapped_column(Timestamp)
    ended_at: Mapped[datetime | None] = mapped_column(Timestamp)


SPREAD = ARRAY(Integer)


class GpuMinute(Base):
    """One minute of one GPU, as its agent told it. A spread is [least, mean, most] of the minute's samples."""

    __tablename__ = "gpu_minutes"
    __table_args__ = (Index("ix_gpu_minutes_minute_at", "minute_at"),)

    gpu_id: Mapped[int] = mapped_column(ForeignKey("gpus.id"), primary_key=True)
    minute_at: Mapped[datetime] = mapped_column(Timestamp, primary_key=True)
    samples: Mapped[int]
    throttled_samples: Mapped[int]
    busy_percent: Mapped[list[int] | None] = mapped_column(SPREAD)
    memory_used_mib: Mapped[list[int] | None] = mapped_column(SPREAD)
    temperature_c: Mapped[list[int] | None] = mapped_column(SPREAD)
    power_milliwatts: Mapped[list[int] | None] = mapped_column(SPREAD)
    sm_clock_mhz: Mapped[list[int] | None] = mapped_column(SPREAD)
    energy_millijoules: Mapped[int | None] = mapped_column(BigInteger)
