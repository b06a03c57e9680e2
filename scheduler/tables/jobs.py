"""Jobs and their attempts. The newest attempt alone may change its job."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from infra.database import Base, Timestamp
from market.resources import Unit
from market.states import AttemptState, JobState, Reason
from scheduler.tables.columns import ATTEMPT_STATE, JOB_STATE, REASON, UNIT

LIVE = (AttemptState.PLACED, AttemptState.RUNNING)
"""The states of an attempt that has not ended."""


class Job(Base):
    """What a customer submitted.

    cpu_milli .. gpu_mig repeat the specification for the placing rounds.
    funded_seconds: money is held for that long from the next lease on; None while it has a lease or waits for money.
    trace: the request that submitted it, said again in every log line about it.
    attempts_placed: the number of its newest attempt. used_ms: lease time of the attempts that ended.
    version: counts its changes (the ETag).
    """

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint("used_ms >= 0", "used"),
        Index("ix_jobs_organization_id", "organization_id", "created_at", "id"),
        Index(
            "ix_jobs_queue",
            "created_at",
            "id",
            postgresql_where=text("state = 'queued' AND funded_seconds IS NOT NULL"),
        ),
        Index("ix_jobs_ended_at", "ended_at", postgresql_where=text("ended_at IS NOT NULL")),
        {"postgresql_with": {"fillfactor": 70}},
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    organization_id: Mapped[str]
    name: Mapped[str]
    spec: Mapped[dict[str, Any]]
    workdir_sha256: Mapped[str | None]
    trace: Mapped[str | None]
    unit: Mapped[Unit] = mapped_column(UNIT)
    quantity_milli: Mapped[int]
    price_limit_microusd_per_unit_hour: Mapped[int]
    simulated: Mapped[bool]
    cpu_milli: Mapped[int]
    memory_bytes: Mapped[int]
    disk_bytes: Mapped[int]
    gpu_count: Mapped[int]
    gpu_model: Mapped[str | None]
    gpu_memory_min_bytes: Mapped[int | None]
    gpu_memory_max_bytes: Mapped[int | None]
    gpu_mig: Mapped[str | None]
    max_duration_seconds: Mapped[int]
    state: Mapped[JobState] = mapped_column(JOB_STATE)
    reason: Mapped[Reason] = mapped_column(REASON)
    detail: Mapped[str] = mapped_column(default="")
    exit_code: Mapped[int | None]
    funded_seconds: Mapped[int | None]
    attempts_placed: Mapped[int] = mapped_column(default=0)
    used_ms: Mapped[int] = mapped_column(default=0)
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime] = mapped_column(Timestamp)
    started_at: Mapped[datetime | None] = mapped_column(Timestamp)
    ended_at: Mapped[datetime | None] = mapped_column(Timestamp)


class Attempt(Base):
    """One numbered try at a job on one node. provider_id repeats its node's.

    stop_reason, stop_at: it is to be stopped for that reason from that time on (None: not at all).
    log_end: where the stored copy of its log ends.
    """

    __tablename__ = "attempts"
    __table_args__ = (
        UniqueConstraint("job_id", "number"),
        Index("ix_attempts_live", "node_id", postgresql_where=text("state IN ('placed', 'running')")),
        Index(
            "ix_attempts_stop_at",
            "stop_at",
            postgresql_where=text("stop_at IS NOT NULL AND state IN ('placed', 'running')"),
        ),
        Index("ix_attempts_first_placed_at", "placed_at", postgresql_where=text("number = 1")),
        {"postgresql_with": {"fillfactor": 70}},
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    number: Mapped[int]
    node_id: Mapped[str] = mapped_column(ForeignKey("nodes.id"))
    provider_id: Mapped[str]
    price_microusd_per_unit_hour: Mapped[int]
    state: Mapped[AttemptState] = mapped_column(ATTEMPT_STATE)
    reason: Mapped[Reason] = mapped_column(REASON)
    detail: Mapped[str] = mapped_column(default="")
    exit_code: Mapped[int | None]
    stop_reason: Mapped[Reason | None] = mapped_column(REASON)
    stop_at: Mapped[datetime | None] = mapped_column(Timestamp)
    log_end: Mapped[int] = mapped_column(default=0)
    placed_at: Mapped[datetime] = mapped_column(Timestamp)
    started_at: Mapped[datetime | None] = mapped_column(Timestamp)
    ended_at: Mapped[datetime | None] = mapped_column(Timestamp)
