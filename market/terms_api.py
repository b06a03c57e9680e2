"""What a provider says of a node: where it stands, what it is called, whom it is for and when."""

from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from market.schedules import WINDOWS_MAX, parse_window
from market.specs import WHERE_MAX, Word


def _window(text: str) -> str:
    parse_window(text)
    return text


SPOT_FLOOR_MILLI = 500
"""The least that a provider who says nothing takes for spot jobs: half of what its offers ask."""
Window = Annotated[str, Field(max_length=60), AfterValidator(_window)]


class NodeTermsView(BaseModel):
    """labels: jobs may ask for them. taints: only jobs that tolerate all of them come. draining: no new work. ends_at:
    nothing runs past it. open: windows of the week in UTC, none: always. spot: it takes spot jobs, at bids of at least
    so many thousandths of what its offers ask."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    region: Word | None = None
    labels: list[Word] = Field(default_factory=list, max_length=WHERE_MAX)
    taints: list[Word] = Field(default_factory=list, max_length=WHERE_MAX)
    draining: bool = False
    ends_at: AwareDatetime | None = None
    open: list[Window] = Field(default_factory=list, max_length=WINDOWS_MAX)
    spot: bool = True
    spot_floor_milli: int = Field(default=SPOT_FLOOR_MILLI, ge=0, le=1000)
