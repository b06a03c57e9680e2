"""The SDK's answers about custody and unmatched deposits, for operators."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from market.customer_api import Money


class _Answer(BaseModel):
    # A newer market may say more than this SDK knows.
    model_config = ConfigDict(frozen=True, extra="ignore")


class Flight(_Answer):
    signature: str
    batch_id: str
    amount: Money
    state: str


class Reconciliation(_Answer):
    """difference_microusd: what nothing explains, 0 if all is well; mismatches: in words."""

    custody: Money
    liabilities: Money
    unmatched: Money
    in_flight: list[Flight]
    lamports: int
    difference_microusd: int
    mismatches: list[str]


class Movement(_Answer):
    signature: str
    amount_microusd: int
    sender: str | None
    memo: str | None
    seen_at: datetime


class Movements(_Answer):
    items: list[Movement]


class Assigned(_Answer):
    deposit_id: str
    organization_id: str
    credited: Money
