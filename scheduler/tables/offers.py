"""Offers: what a node asks for its GPUs of a model, or for its CPUs; a new price is a new row."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from infra.database import Base, Timestamp
from market.components import ComponentPrices
from market.resources import Unit
from scheduler.tables.columns import UNIT

CPU_MODEL = "CPU"


class Offer(Base):
    """model: the GPUs' name, or CPU. cpu, memory, disk: asked beside the price of the units; CPUs are the units of an
    offer of CPUs. ended_at: None for the one that stands. withdrawn: its provider ended it."""

    __tablename__ = "offers"
    __table_args__ = (
        CheckConstraint("price_microusd_per_unit_hour >= 0", "price"),
        CheckConstraint(
            "cpu_microusd_per_hour >= 0 AND memory_microusd_per_gib_hour >= 0 AND disk_microusd_per_gib_hour >= 0"
            " AND (unit = 'gpu' OR cpu_microusd_per_hour = 0)",
            "components",
        ),
        Index("uq_offers_standing", "node_id", "unit", "model", unique=True, postgresql_where=text("ended_at IS NULL")),
        Index("ix_offers_node_id", "node_id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    provider_id: Mapped[str] = mapped_column(ForeignKey("providers.id"))
    node_id: Mapped[str] = mapped_column(ForeignKey("nodes.id"))
    unit: Mapped[Unit] = mapped_column(UNIT)
    model: Mapped[str]
    price_microusd_per_unit_hour: Mapped[int]
    cpu_microusd_per_hour: Mapped[int] = mapped_column(server_default=text("0"), default=0)
    memory_microusd_per_gib_hour: Mapped[int] = mapped_column(server_default=text("0"), default=0)
    disk_microusd_per_gib_hour: Mapped[int] = mapped_column(server_default=text("0"), default=0)
    started_at: Mapped[datetime] = mapped_column(Timestamp)
    ended_at: Mapped[datetime | None] = mapped_column(Timestamp)
    withdrawn: Mapped[bool] = mapped_column(default=False)

    @property
    def components(self) -> ComponentPrices:
        return ComponentPrices(
            self.cpu_microusd_per_hour, self.memory_microusd_per_gib_hour, self.disk_microusd_per_gib_hour
        )
