"""Messages and their deliveries: one row for each subscriber, done in the handler's own transaction."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from infra.database import Base, Timestamp


class OutboxMessage(Base):
    __tablename__ = "outbox_messages"
    __table_args__ = (Index("ix_outbox_messages_job_id", text("(body ->> 'job_id')")),)

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    kind: Mapped[str]
    body: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))


class Delivery(Base):
    """due_at: when the relay sends it (again); attempts: how often a handler had it in vain, not what was lost on the
    way; parked_at: given up, with the error, until a person replays it."""

    __tablename__ = "outbox_deliveries"
    __table_args__ = (
        Index("ix_outbox_deliveries_due", "due_at", postgresql_where=text("done_at IS NULL AND parked_at IS NULL")),
    )

    message_id: Mapped[int] = mapped_column(ForeignKey("outbox_messages.id", ondelete="CASCADE"), primary_key=True)
    subscriber: Mapped[str] = mapped_column(primary_key=True)
    due_at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))
    attempts: Mapped[int] = mapped_column(default=0)
    done_at: Mapped[datetime | None] = mapped_column(Timestamp)
    parked_at: Mapped[datetime | None] = mapped_column(Timestamp)
    error: Mapped[str | None]
