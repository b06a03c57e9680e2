"""How long a window may be and when the next is due. Pure: no session, no clock."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from market.money import MILLI, MILLISECONDS_PER_HOUR, window_hold_microusd
from market.states import Reason

RENEW_PARTS = 5
"""A window is renewed once one part in so many is over. Of a quarter of an hour twelve minutes are left then, which
outlasts ten minutes without a control plane whenever they begin, and the two minutes that a renewal may take besides.
"""
RENEW_BEFORE = timedelta(seconds=60)
"""However short a window is, it is renewed with this much left; and then at the latest a refusal is said."""
PARTIAL_SECONDS_MIN = 60
"""Money that pays for less than this is no window of its own, unless the job's own limit ends there."""


@dataclass(frozen=True, slots=True)
class Rate:
    """minimum_seconds: of an attempt's first window: what is charged at least, and therefore held."""

    quantity_milli: int
    price_microusd_per_unit_hour: int
    minimum_seconds: int = 0

    @property
    def least(self) -> str:
        """The least that can be paid for, in words."""
        return f"the {self.minimum_seconds} seconds that are charged at least" if self.minimum_seconds else "one second"

    def hold_microusd(self, seconds: int) -> int:
        held_ms = max(seconds, self.minimum_seconds) * 1000
        return window_hold_microusd(self.quantity_milli, held_ms, self.price_microusd_per_unit_hour)

    def seconds_for(self, amount_microusd: int, longest: int) -> int:
        """The whole seconds, `longest` at most, whose hold that amount covers."""
        if amount_microusd < self.hold_microusd(0):
            return 0
        per_second = self.quantity_milli * self.price_microusd_per_unit_hour
        if per_second == 0:
            return longest
        return max(0, min(longest, amount_microusd * (MILLI * MILLISECONDS_PER_HOUR // 1000) // per_second))


@dataclass(frozen=True, slots=True)
class Limits:
    """What still binds a job. budget_microusd: of max_total, less what is charged and held; None: no such limit.

    allowance_microusd: what is left of the tightest of its organization's budgets; None: there is none.
    """

    window_seconds: int
    remaining_seconds: int
    budget_microusd: int | None
    available_microusd: int
    allowance_microusd: int | None = None


@dataclass(frozen=True, slots=True)
class Funded:
    """A window that can be held. A refusal is a Reason instead."""

    seconds: int
    amount_microusd: int


def next_window(rate: Rate, limits: Limits, *, last_chance: bool = False) -> Funded | Reason:
    """The next window of a job, or why there is none.

    last_chance: take a shorter window if balance or allowance pay for no whole one, since otherwise the job ends.
    """
    seconds = min(limits.window_seconds, limits.remaining_seconds)
    if seconds <= 0:
        return Reason.STOPPED_MAX_DURATION
    if limits.budget_microusd is not None:
        seconds = rate.seconds_for(limits.budget_microusd, seconds)
        if seconds == 0:
            return Reason.STOPPED_BUDGET_EXHAUSTED
    needed, allowance = rate.hold_microusd(seconds), limits.allowance_microusd
    money = limits.available_microusd if allowance is None else min(limits.available_microusd, max(0, allowance))
    if needed > money:
        seconds = rate.seconds_for(money, seconds)
        if not last_chance or seconds < PARTIAL_SECONDS_MIN:
            short = money == limits.available_microusd
            return Reason.STOPPED_BALANCE_EXHAUSTED if short else Reason.STOPPED_BUDGET_EXHAUSTED
    return Funded(seconds, rate.hold_microusd(seconds))


def longest(rate: Rate, limits: Limits) -> int:
    """The seconds of a window that the job's own limits allow."""
    seconds = max(0, min(limits.window_seconds, limits.remaining_seconds))
    return seconds if limits.budget_microusd is None else rate.seconds_for(limits.budget_microusd, seconds)


def by_allowance(rate: Rate, limits: Limits, refused: Reason) -> bool:
    """Whether a refusal is for a budget of the organization, not for the job's own max_total."""
    return refused is Reason.STOPPED_BUDGET_EXHAUSTED and longest(rate, limits) > 0


def renewal(from_at: datetime, until_at: datetime) -> datetime:
    """When the window after this one is due: early in it, or RENEW_BEFORE its end if that is earlier."""
    return min(from_at + (until_at - from_at) / RENEW_PARTS, until_at - RENEW_BEFORE)
