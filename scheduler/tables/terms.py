"""What a provider says of a node beside its offers, and what its record says."""

from datetime import datetime

from sqlalchemy import ForeignKey, Index, String, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from infra.database import Base, Timestamp


class NodeTerms(Base):
    """market.terms_api.NodeTermsView in a row. A node without one says nothing."""

    __tablename__ = "node_terms"

    node_id: Mapped[str] = mapped_column(ForeignKey("nodes.id"), primary_key=True)
    region: Mapped[str | None]
    labels: Mapped[list[str]] = mapped_column(ARRAY(String))
    taints: Mapped[list[str]] = mapped_column(ARRAY(String))
    draining: Mapped[bool]
    ends_at: Mapped[datetime | None] = mapped_column(Timestamp)
    open: Mapped[list[str]] = mapped_column(ARRAY(String))
    spot: Mapped[bool]
    spot_floor_milli: Mapped[int]
    changed_at: Mapped[datetime] = mapped_column(Timestamp)


class NodeRecord(Base):
    """How a node's attempts ended: well and by its fault, each counted less the longer ago it is, in thousandths.

    learned_at: until when releases are counted; the counts are worth what they were then.
    """

    __tablename__ = "node_records"
    __table_args__ = (Index("ix_node_records_poor", "node_id", postgresql_where=text("reliability_milli < 1000")),)

    node_id: Mapped[str] = mapped_column(ForeignKey("nodes.id"), primary_key=True)
    well_milli: Mapped[int]
    ill_milli: Mapped[int]
    reliability_milli: Mapped[int]
    learned_at: Mapped[datetime] = mapped_column(Timestamp)
