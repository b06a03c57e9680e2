"""What is measured and how it may be asked: the definitions that the command line, GraphQL and Prometheus share.

Money is in micro-USDC, time in milliseconds, ratios in millionths; all of them integers, so that no face rounds anew.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from market.errors import FieldError, InvalidInput

PPM = 1_000_000
ROWS_MAX = 10_000
SPAN_MAX = timedelta(days=400)
HOURLY_SPAN_MAX = timedelta(days=62)

Row = dict[str, Any]


class Report(StrEnum):
    """gmv: money of usage lines; utilization: leased of offered time; queue-wait: until placed; outcomes: of jobs."""

    GMV = "gmv"
    UTILIZATION = "utilization"
    QUEUE_WAIT = "queue-wait"
    OUTCOMES = "outcomes"


class Dimension(StrEnum):
    """What a report can be broken down by. Hours and days are those of UTC."""

    HOUR = "hour"
    DAY = "day"
    MODEL = "model"
    PROVIDER = "provider"
    ORGANIZATION = "organization"


@dataclass(frozen=True, slots=True)
class Question:
    """A report over [since, until), by these dimensions (none: one row for all of it).

    simulated: of test data alone; otherwise of none of it. Raises InvalidInput for a question that cannot be asked.
    """

    report: Report
    since: datetime
    until: datetime
    by: tuple[Dimension, ...] = ()
    simulated: bool = False

    def __post_init__(self) -> None:
        if self.since.tzinfo is None or self.until.tzinfo is None:
            raise _invalid("/since", "a time needs its zone, such as 2026-11-21T12:00:00Z")
        if not self.since < self.until:
            raise _invalid("/until", "the time range is empty: --until lies after --since")
        if len(set(self.by)) < len(self.by):
            raise _invalid("/by", "a dimension is named twice")
        if {Dimension.HOUR, Dimension.DAY} <= set(self.by):
            raise _invalid("/by", "by hour or by day, not both")
        if self.report is Report.UTILIZATION and Dimension.ORGANIZATION in self.by:
            raise _invalid("/by", "what is offered is offered to everybody: utilization has no organization")
        longest = HOURLY_SPAN_MAX if Dimension.HOUR in self.by else SPAN_MAX
        if self.until - self.since > longest:
            raise _invalid("/since", f"the time range is longer than {longest.days} days, the most that is answered")

    @property
    def step(self) -> timedelta | None:
        """The length of its stretches of time; None: the whole range is one."""
        if Dimension.HOUR in self.by:
            return timedelta(hours=1)
        return timedelta(days=1) if Dimension.DAY in self.by else None

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of a row's values, in the order in which every face shows them."""
        return (*(dimension.value for dimension in self.by), *MEASURES[self.report])


MEASURES: dict[Report, tuple[str, ...]] = {
    Report.GMV: (
        "usage_lines",
        "gmv_microusd",
        "provider_microusd",
        "fee_microusd",
        "rounding_microusd",
        "take_rate_ppm",
    ),
    Report.UTILIZATION: ("unit", "leased_unit_ms", "offered_unit_ms", "utilization_ppm"),
    Report.QUEUE_WAIT: ("jobs", "wait_p50_ms", "wait_p90_ms", "wait_p99_ms", "wait_max_ms"),
    Report.OUTCOMES: ("reason", "jobs"),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """rows: by column; None where a ratio or a percentile is of nothing."""

    question: Question
    rows: list[Row]


def ppm(part: int, whole: int) -> int | None:
    """part / whole in millionths, rounded half to even; None of nothing."""
    if whole == 0:
        return None
    quotient, rest = divmod(part * PPM, whole)
    return quotient + (2 * rest > whole or (2 * rest == whole and quotient % 2 == 1))


def whole_hour(at: datetime) -> datetime:
    """The beginning of its hour, in UTC."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _invalid(pointer: str, detail: str) -> InvalidInput:
    return InvalidInput(detail, errors=[FieldError(pointer, detail)])
