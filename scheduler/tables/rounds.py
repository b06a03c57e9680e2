"""The rounds on record."""

from datetime import datetime

from sqlalchemy import Index, LargeBinary
from sqlalchemy.orm import Mapped, mapped_column

from infra.database import Base, Timestamp


class PlacementRound(Base):
    """What a round was told and what it came to (scheduler/placement/record).

    chain_id: the first record of its chain, from which `number` counts. digest: over the one before it and the body.
    """

    __tablename__ = "placement_rounds"
    __table_args__ = (Index("uq_placement_rounds_chain", "chain_id", "number", unique=True),)

    id: Mapped[str] = mapped_column(primary_key=True)
    chain_id: Mapped[str]
    number: Mapped[int]
    decided_at: Mapped[datetime] = mapped_column(Timestamp)
    asked: Mapped[int]
    placed: Mapped[int]
    digest: Mapped[str]
    size_bytes: Mapped[int]
    body: Mapped[bytes] = mapped_column(LargeBinary)
