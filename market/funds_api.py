"""What a customer asks about money and is answered: balance, deposits, withdrawals, allowances, budgets, and events."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from market.customer_api import Money, View
from market.specs import WORD_PATTERN


class BalanceView(View):
    """available: to spend or withdraw now. pending: all that is the organization's and cannot be spent now.

    That is held (for its jobs), withdrawing (on its way to a wallet) and arriving (paid in, seen, and not final).
    """

    available: Money
    held: Money
    withdrawing: Money = Money.of(0)
    arriving: Money = Money.of(0)
    pending: Money = Money.of(0)


class DepositRequest(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    amount_microusd: int = Field(gt=0, le=10**15)


class DepositView(View):
    """How to pay: a Solana Pay transfer request. state: `waiting`, then `credited`.

    arriving: what was seen of it on the chain and is not final.
    """

    deposit_id: str
    state: str
    amount: Money
    recipient: str
    mint: str
    reference: str
    memo: str
    solana_pay_url: str
    signature: str | None = None
    arriving: Money = Money.of(0)


class WithdrawalRequest(BaseModel):
    """wallet_address: the Solana address of a wallet of one's own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    amount_microusd: int = Field(gt=0, le=10**15)
    wallet_address: str = Field(max_length=60)


class WithdrawalView(View):
    """state: `waiting` (until payable_from, and for room under the market's daily caps), `sending`, then `confirmed`,
    `returned` (the wallet cannot take it; available again, detail says why) or `cancelled`.

    rent: what of the amount is kept for making the wallet's token account; signature: of the chain, once confirmed.
    """

    withdrawal_id: str
    state: str
    amount: Money
    rent: Money
    wallet_address: str
    created_at: datetime
    payable_from: datetime
    detail: str = ""
    signature: str | None = None


class WithdrawalList(View):
    """The newest 1,000, newest first."""

    items: list[WithdrawalView]


class AllowanceRequest(BaseModel):
    """keep: what is kept available by pulls; daily_max: the most that is pulled in 24 hours, None: the market's own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keep_microusd: int = Field(ge=0, le=10**15)
    daily_max_microusd: int | None = Field(default=None, gt=0, le=10**15)


class ApprovalRequest(BaseModel):
    """signature: of the transaction that approves the delegate and carries the allowance's memo."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    signature: str = Field(max_length=90)


class AllowanceView(View):
    """state: `waiting` for an approval of `delegate` that carries `memo`, or `active`; detail: what is in the way.

    delegated and balance: of the token account on the chain at read_at; pullable: the lesser of the two.
    """

    allowance_id: str
    state: str
    delegate: str
    mint: str
    memo: str
    keep: Money
    daily_max: Money
    token_account: str | None = None
    owner: str | None = None
    delegated: Money
    balance: Money
    pullable: Money
    read_at: datetime | None = None
    detail: str = ""


class PullView(View):
    """state: `open` (on its way), `confirmed` (available since) or `returned` (nothing was taken; detail says why)."""

    pull_id: str
    state: str
    amount: Money
    token_account: str
    created_at: datetime
    detail: str = ""
    signature: str | None = None


class PullList(View):
    """The newest 1,000, newest first."""

    items: list[PullView]


class BudgetRequest(BaseModel):
    """label: of the jobs that it binds; empty: every job. limit_microusd: 0 funds nothing more."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    label: str = Field(default="", pattern=f"^$|{WORD_PATTERN}")
    period: Literal["hour", "day", "month"]
    limit_microusd: int = Field(ge=0, le=10**15)


class BudgetView(View):
    """A budget in its period of now, which is of the calendar, UTC. used: held or charged for windows funded in it."""

    budget_id: str
    label: str
    period: str
    limit: Money
    used: Money
    left: Money
    starts_at: datetime
    ends_at: datetime


class BudgetList(View):
    items: list[BudgetView]


class MoneyWatchRequest(BaseModel):
    """When to be told: below so much, or when it lasts for less than so many hours; 0 of either: never."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low_microusd: int = Field(ge=0, le=10**15)
    forecast_hours: int = Field(ge=0, le=8784)


class MoneyWatchView(View):
    low: Money
    forecast_hours: int


class MoneyEventView(View):
    """Told once when it comes to pass. kind: balance_low, balance_forecast, budget_low or budget_spent.

    subject: the budget's id, or empty. over_at: when it was over; None while it lasts.
    """

    event_id: str
    kind: str
    subject: str
    detail: str
    told_at: datetime
    over_at: datetime | None
