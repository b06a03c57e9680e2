"""What the queue remembers between rounds (who was passed over, where places are held), and who is entitled to what."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, String
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from infra.database import Base, Timestamp


class QueueMark(Base):
    """A queued job that others were placed before. passed_at: since when. held_nodes: where places are held for it."""

    __tablename__ = "queue_marks"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    passed_at: Mapped[datetime] = mapped_column(Timestamp)
    held_nodes: Mapped[list[str]] = mapped_column(ARRAY(String))


class OrganizationShare(Base):
    """An organization's part beside others where it is not the usual one: an Account of placement's queue."""

    __tablename__ = "organization_shares"
    __table_args__ = (CheckConstraint("weight_milli > 0 AND quota_gpus >= 0 AND ceiling_gpus >= 0", "amounts"),)

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    weight_milli: Mapped[int]
    quota_gpus: Mapped[int]
    ceiling_gpus: Mapped[int | None]
    changed_at: Mapped[datetime] = mapped_column(Timestamp)
