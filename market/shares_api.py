"""What an organization is entitled to beside others, as operators say and see it."""

from pydantic import BaseModel, ConfigDict, Field

WEIGHT_MAX_MILLI = 1_000_000
GPUS_MAX = 1_000_000


class ShareRequest(BaseModel):
    """weight_milli: its part of what all compete for, 1000 as usual. quota_gpus: within so many its turn comes before
    those that borrow. ceiling_gpus: it never holds more; null: no ceiling."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight_milli: int = Field(default=1000, ge=1, le=WEIGHT_MAX_MILLI)
    quota_gpus: int = Field(default=0, ge=0, le=GPUS_MAX)
    ceiling_gpus: int | None = Field(default=None, ge=0, le=GPUS_MAX)


class ShareView(BaseModel):
    """An organization's share."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    organization_id: str
    weight_milli: int
    quota_gpus: int
    ceiling_gpus: int | None


class ShareList(BaseModel):
    """Those that are not the usual one."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    items: list[ShareView]
