"""What organizations pay less than is asked."""

from datetime import datetime

from sqlalchemy import CheckConstraint
from sqlalchemy.orm import Mapped, mapped_column

from infra.database import Base, Timestamp


class OrganizationDiscount(Base):
    """Off every price, at the cost of the platform's fee; who has none has no row."""

    __tablename__ = "organization_discounts"
    __table_args__ = (CheckConstraint("discount_basis_points BETWEEN 1 AND 9999", "discount"),)

    organization_id: Mapped[str] = mapped_column(primary_key=True)
    discount_basis_points: Mapped[int]
    changed_at: Mapped[datetime] = mapped_column(Timestamp)
