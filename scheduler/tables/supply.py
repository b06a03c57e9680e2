"""What the market could have leased, and when: the history that utilization is measured by."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from infra.database import Base, Timestamp
from market.resources import Unit
from scheduler.tables.columns import UNIT


class SupplyInterval(Base):
    """From from_at to until_at (None: still) that node was heard and offered that many units of that model.

    What was in quarantine, frozen or banned is left out, but for what was leased of it.
    """

    __tablename__ = "supply_intervals"
    __table_args__ = (
        CheckConstraint("quantity_milli > 0", "quantity"),
        CheckConstraint("until_at >= from_at", "time"),
        Index(
            "uq_supply_intervals_open",
            "node_id",
            "unit",
            "model",
            unique=True,
            postgresql_where=text("until_at IS NULL"),
        ),
        Index("ix_supply_intervals_until_at", "until_at"),
    )

    node_id: Mapped[str] = mapped_column(ForeignKey("nodes.id"), primary_key=True)
    unit: Mapped[Unit] = mapped_column(UNIT, primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    from_at: Mapped[datetime] = mapped_column(Timestamp, primary_key=True)
    provider_id: Mapped[str] = mapped_column(ForeignKey("providers.id"))
    simulated: Mapped[bool]
    quantity_milli: Mapped[int]
    until_at: Mapped[datetime | None] = mapped_column(Timestamp)
