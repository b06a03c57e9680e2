"""The SDK's answers about custody and unmatched deposits, for operators."""

from datetime import datetime

from gridbay.client.party import Answer
from market.customer_api import Money


class Flight(Answer):
    signature: str
    batch_id: str
    amount: Money
    state: str


class Reconciliation(Answer):
    """difference_microusd: what nothing explains, 0 if all is well; mismatches: in words."""

    custody: Money
    liabilities: Money
    unmatched: Money
    in_flight: list[Flight]
    lamports: int
    difference_microusd: int
    mismatches: list[str]


class Movement(Answer):
    signature: str
    amount_microusd: int
    sender: str | None
    memo: str | None
    seen_at: datetime


class Movements(Answer):
    items: list[Movement]


class Assigned(Answer):
    deposit_id: str
    organization_id: str
    credited: Money
