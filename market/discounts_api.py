"""What organizations pay less than is asked, as operators say and see it."""

from pydantic import BaseModel, ConfigDict, Field

DISCOUNT_MAX = 9_999


class DiscountRequest(BaseModel):
    """Off every price, in basis points; it comes out of the platform's fee and is never above it. 0: none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    discount_basis_points: int = Field(ge=0, le=DISCOUNT_MAX)


class DiscountView(BaseModel):
    """An organization's discount."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    organization_id: str
    discount_basis_points: int


class DiscountList(BaseModel):
    """Those that there are."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    items: list[DiscountView]
