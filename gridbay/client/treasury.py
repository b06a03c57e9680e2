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
    """by_kind: whose the liabilities are, by kind of account.

    difference_microusd: what nothing explains, 0 if all is well; mismatches: in words.
    """

    custody: Money
    liabilities: Money
    by_kind: dict[str, Money] = {}
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


class Adjustment(Answer):
    """A part of a posted line that was given back; owed: what its provider had been paid already and still owes."""

    adjustment_id: str
    line_id: str
    job_id: str
    organization_id: str
    provider_id: str
    amount: Money
    provider_share: Money
    fee: Money
    rounding: Money
    owed: Money
    cause: str
    reason: str
    adjusted_at: datetime


class Adjustments(Answer):
    items: list[Adjustment]


class Assigned(Answer):
    deposit_id: str
    organization_id: str
    credited: Money
