"""The clock port: time is passed in, so that tests and simulations own it."""

from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Tells the time of the server as an aware UTC datetime."""

    def now(self) -> datetime: ...


class SystemClock:
    """The wall clock of this machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class ManualClock:
    """A clock that moves only when it is told to."""

    def __init__(self, start: datetime) -> None:
        self._now = start

    def now(self) -> datetime:
        return self._now

    def advance(self, by: timedelta) -> datetime:
        self._now += by
        return self._now


def milliseconds_between(start: datetime, end: datetime) -> int:
    """Whole milliseconds from start to end, floored; negative when end lies before start."""
    return (end - start) // timedelta(milliseconds=1)
