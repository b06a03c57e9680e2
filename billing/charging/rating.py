"""What a lease's windows charge: the one decision that turns run time into lines. Pure: no session, no clock.

Billable time is lease time seen by the server; readings can only lower it. It is cumulative over the lease, so that
lines add up to the charge of the whole however windows cut it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from market.clock import milliseconds_between
from market.money import Split, split_charge, usage_charge_microusd

LATE_READINGS = timedelta(seconds=30)
"""How long the readings of a window that is over are waited for while its lease lives."""


@dataclass(frozen=True, slots=True)
class Meter:
    """What the node's durable readings say of a lease. reached_at: when the last of them arrived; final: it ended."""

    run_ms: int = 0
    reached_at: datetime | None = None
    final: bool = False


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease as far as it is billed. ended_noticed_at: when billing heard of its end.

    minimum_ms: for how long it is charged at least once it has ended, if its command ran at all.
    """

    quantity_milli: int
    price_microusd_per_unit_hour: int
    fee_basis_points: int
    discount_basis_points: int
    minimum_ms: int
    granted_at: datetime
    ended_at: datetime | None
    ended_noticed_at: datetime | None
    metered_ms: int
    charged_microusd: int


@dataclass(frozen=True, slots=True)
class OpenWindow:
    number: int
    until_at: datetime
    noticed_over_at: datetime | None
    hold_microusd: int


@dataclass(frozen=True, slots=True)
class Line:
    """minimum_ms: for so long it is charged, where that is more than it ran; else 0."""

    from_ms: int
    to_ms: int
    minimum_ms: int
    charged_before_microusd: int
    amount_microusd: int
    split: Split
    capped: bool


@dataclass(frozen=True, slots=True)
class Settled:
    """One window's outcome. line: None when it brought nothing and is not the first; its hold is given back."""

    number: int
    line: Line | None

    @property
    def captured_microusd(self) -> int:
        return self.line.amount_microusd if self.line else 0


def settle(
    lease: Lease, windows: Sequence[OpenWindow], meter: Meter, now: datetime, final_wait: timedelta
) -> list[Settled]:
    """The windows that can be settled now, in order.

    All of them once the lease has ended and its final reading is there (or final_wait has passed since); otherwise
    those that are over and whose readings reach their end (or LATE_READINGS have passed since that was noticed).
    """
    settled: list[Settled] = []
    metered_ms, charged = lease.metered_ms, lease.charged_microusd
    for window in sorted(windows, key=lambda item: item.number):
        if not _is_due(lease, window, meter, now, final_wait):
            break
        line = _line(lease, window, meter, metered_ms, charged)
        metered_ms, charged = line.to_ms, charged + line.amount_microusd
        empty = line.to_ms == line.from_ms and line.amount_microusd == 0
        settled.append(Settled(window.number, None if empty and window.number > 0 else line))
    return settled


def _is_due(lease: Lease, window: OpenWindow, meter: Meter, now: datetime, final_wait: timedelta) -> bool:
    if lease.ended_at is not None:
        return meter.final or (lease.ended_noticed_at is not None and now >= lease.ended_noticed_at + final_wait)
    if now < window.until_at:
        return False
    if meter.reached_at is not None and meter.reached_at >= window.until_at:
        return True
    return window.noticed_over_at is not None and now >= window.noticed_over_at + LATE_READINGS


def _line(lease: Lease, window: OpenWindow, meter: Meter, from_ms: int, charged_before: int) -> Line:
    boundary = window.until_at if lease.ended_at is None else min(window.until_at, lease.ended_at)
    seen_ms = max(0, milliseconds_between(lease.granted_at, boundary))
    to_ms = max(from_ms, min(meter.run_ms, seen_ms))
    minimum_ms = lease.minimum_ms if lease.ended_at is not None and 0 < to_ms < lease.minimum_ms else 0
    charged_ms = max(to_ms, minimum_ms)
    due = usage_charge_microusd(lease.quantity_milli, charged_ms, lease.price_microusd_per_unit_hour) - charged_before
    amount = min(due, window.hold_microusd)
    return Line(
        from_ms=from_ms,
        to_ms=to_ms,
        minimum_ms=minimum_ms,
        charged_before_microusd=charged_before,
        amount_microusd=amount,
        split=split_charge(amount, lease.fee_basis_points, lease.discount_basis_points),
        capped=amount < due,
    )
