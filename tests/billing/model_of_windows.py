"""Holds, windows and budgets as a page of arithmetic, by the words of the documents: what billing is held to."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

SECOND = timedelta(seconds=1)
PERIODS: dict[str, Callable[[datetime, datetime], bool]] = {
    "hour": lambda one, other: (
        one.replace(minute=0, second=0, microsecond=0) == other.replace(minute=0, second=0, microsecond=0)
    ),
    "month": lambda one, other: (one.year, one.month) == (other.year, other.month),
}
"""Whether two moments lie in the same."""


@dataclass
class Hold:
    """Of a window that begins then: what is held for it, then what was captured of that."""

    begins: datetime
    label: str
    amount: int


@dataclass
class Window:
    until: datetime
    hold: Hold
    first: bool
    noticed: datetime | None = None


@dataclass
class Model:
    """One job on one lease, by the words of docs: what is available and held, and what was charged to whom."""

    available: int
    now: datetime
    quantity: int = 0
    price: int = 0
    total: int | None = None
    duration: int = 0
    charged: int = 0
    metered: int = 0
    run_ms: int = 0
    reached: datetime | None = None
    final: bool = False
    granted: datetime | None = None
    ended: datetime | None = None
    ended_noticed: datetime | None = None
    renew: datetime | None = None
    windows: list[Window] = field(default_factory=list)
    first_hold: Hold | None = None
    shares: Counter[str] = field(default_factory=Counter)
    lines: list[list[int]] = field(default_factory=list)
    label: str = ""
    holds: list[Hold] = field(default_factory=list)
    budgets: dict[tuple[str, str], int] = field(default_factory=dict)

    @property
    def held(self) -> int:
        return sum(hold.amount for hold in (self.first_hold, *(window.hold for window in self.windows)) if hold)

    def hold(self, amount: int, begins: datetime) -> Hold:
        self.available -= amount
        self.holds.append(Hold(begins, self.label, amount))
        return self.holds[-1]

    def lower(self, hold: Hold, amount: int) -> None:
        self.available += hold.amount - amount
        hold.amount = amount

    def used(self, budget: tuple[str, str], at: datetime) -> int:
        label, period = budget
        found = [hold for hold in self.holds if label in ("", hold.label) and PERIODS[period](hold.begins, at)]
        return sum(hold.amount for hold in found)

    def allowed(self, at: datetime) -> int:
        """What is available, and no budget of the job's forbids for a window that begins then."""
        left = [most - self.used(budget, at) for budget, most in self.budgets.items() if budget[0] in ("", self.label)]
        return max(0, min([self.available, *left]))

    @property
    def funded_until(self) -> datetime:
        assert self.granted is not None
        return max([self.granted, *self.ends])

    ends: list[datetime] = field(default_factory=list)

    def cost(self, seconds: int) -> int:
        return -(-self.quantity * seconds * self.price // 3_600_000)

    def longest(self, money: int, most: int) -> int:
        """The most whole seconds whose cost that money covers."""
        return bisect_right(range(most + 1), money, key=self.cost) - 1

    def fund(self, last_chance: bool, remaining: int) -> int | None:
        """The seconds of the next window; 0: the duration is over; None: there is no money for one."""
        money = self.allowed(self.now if self.granted is None else self.funded_until)
        seconds = min(900, remaining)
        if seconds > 0 and self.total is not None:
            seconds = self.longest(max(0, self.total - self.charged - self.held), seconds)
            if seconds == 0:
                return None
        if seconds > 0 and self.cost(seconds) > money:
            seconds = self.longest(money, seconds)
            return seconds if last_chance and seconds >= 60 else None
        return max(0, seconds)

    def bind(self, price: int, seconds: int) -> None:
        assert self.first_hold is not None
        self.price, self.granted = price, self.now
        self.lower(self.first_hold, min(self.first_hold.amount, self.cost(seconds)))
        self.extend(seconds, self.first_hold)
        self.first_hold = None

    def extend(self, seconds: int, hold: Hold) -> None:
        began, until = self.funded_until, self.funded_until + seconds * SECOND
        self.windows.append(Window(until, hold, first=not self.ends))
        self.ends.append(until)
        self.renew = min(began + (until - began) / 5, until - 60 * SECOND)

    def renewed(self) -> None:
        if self.renew is None or self.renew > self.now or self.granted is None:
            return
        until, used = self.funded_until, (self.funded_until - self.granted) // SECOND
        seconds = self.fund(until - self.now <= 60 * SECOND, self.duration - used)
        if seconds:
            self.extend(seconds, self.hold(self.cost(seconds), until))
        else:
            self.renew = self.now + 5 * SECOND if seconds is None and self.now + 5 * SECOND < until else None

    def capture(self) -> None:
        for window in self.windows:
            if window.noticed is None and window.until <= self.now:
                window.noticed = self.now
        while self.windows and self.due(self.windows[0]):
            self.settle(self.windows.pop(0))

    def due(self, window: Window) -> bool:
        if self.ended_noticed is not None:
            return self.final or self.now >= self.ended_noticed + 60 * SECOND
        if self.now < window.until:
            return False
        told = self.reached is not None and self.reached >= window.until
        return told or (window.noticed is not None and self.now >= window.noticed + 30 * SECOND)

    def settle(self, window: Window) -> None:
        assert self.granted is not None
        seen = (min(window.until, self.ended or window.until) - self.granted) // timedelta(milliseconds=1)
        self.metered = max(self.metered, min(self.run_ms, max(0, seen)))
        amount = min(self.quantity * self.metered * self.price // 3_600_000_000 - self.charged, window.hold.amount)
        fee, share = amount * 5 // 100, amount * 95 // 100
        self.shares.update(fee=fee, share=share, rounding=amount - fee - share)
        self.charged += amount
        if amount > 0:
            self.lines.append([amount, share, fee, 0])
        self.lower(window.hold, amount)

    def give_back(self, wanted: int) -> int:
        """So much of the newest line, or what is left of it."""
        amount, share, fee, before = self.lines[-1]
        after = min(amount, before + wanted)
        fees = [fee * back // amount for back in (before, after)]
        taken = [min(share, back - of_fee) for back, of_fee in zip((before, after), fees, strict=True)]
        self.shares["fee"] -= fees[1] - fees[0]
        self.shares["share"] -= taken[1] - taken[0]
        self.shares["rounding"] -= (after - fees[1] - taken[1]) - (before - fees[0] - taken[0])
        self.lines[-1][3] = after
        self.available += after - before
        return after - before

    def next_moments(self) -> list[datetime]:
        """When something is due: a renewal, a window's last minute, its end, and the end of each wait."""
        moments = [window.until + around * SECOND for window in self.windows for around in (-60, 0)]
        moments += [window.noticed + 30 * SECOND for window in self.windows if window.noticed]
        moments += [moment for moment in (self.renew,) if moment]
        moments += [self.ended_noticed + 60 * SECOND] if self.ended_noticed else []
        return sorted(moment for moment in moments if moment > self.now)
