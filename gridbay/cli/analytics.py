"""`gridbay analytics`: what the market earned, how full it was, how long jobs waited, how they ended."""

import csv
import re
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import typer

from gridbay.cli.admin import open_operator
from gridbay.cli.console import remarks, results
from gridbay.cli.listing import Column, print_json, table_of
from gridbay.client.operator import MarketReport
from market.errors import InvalidInput
from market.money import format_usdc

app = typer.Typer(no_args_is_help=True)
_AGO = re.compile(r"([1-9][0-9]{0,4})(m|h|d|w)")
_STEPS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class By(StrEnum):
    HOUR = "hour"
    DAY = "day"
    MODEL = "model"
    PROVIDER = "provider"
    ORGANIZATION = "organization"


ByOption = Annotated[
    list[By], typer.Option("--by", help="Break it down; may be said several times.", show_default=False)
]
SinceOption = Annotated[
    str | None,
    typer.Option("--since", help="2026-11-01, 2026-11-01T12:00Z, or 24h, 7d ago (default: 7d).", show_default=False),
]
UntilOption = Annotated[str | None, typer.Option("--until", help="The same (default: now).", show_default=False)]
SimulatedOption = Annotated[
    bool, typer.Option("--simulated", help="Of simulated nodes alone; otherwise none of it is counted.")
]
FormatOption = Annotated[
    Format, typer.Option("--output", "-o", help="A table for people, CSV or JSON for programs (whole numbers).")
]


@app.callback()
def analytics() -> None:
    """Report GMV, utilization, queue wait and outcomes.

    docs/analytics.md defines the measures.
    """


def _command(report: str) -> Callable[..., None]:
    """All reports are asked for in the same way."""

    def command(
        *,
        by: ByOption = [],  # noqa: B006 - Typer copies it
        since: SinceOption = None,
        until: UntilOption = None,
        simulated: SimulatedOption = False,
        output: FormatOption = Format.TABLE,
    ) -> None:
        _report(report, by, since, until, output, simulated=simulated)

    return command


for _name, _help in (
    ("gmv", "Show the gross amount of usage lines, whose it is, and the take rate."),
    ("utilization", "Show leased of offered time, for GPUs and CPUs."),
    ("queue-wait", "Show how long jobs waited from submission to their first placement."),
    ("outcomes", "Show how jobs ended, by final reason."),
):
    app.command(_name, help=_help)(_command(_name))


def moment(text: str | None, option: str, now: datetime) -> datetime | None:
    """A date or time (of UTC, if it names no zone), or so long ago. Raises InvalidInput."""
    if text is None:
        return None
    if ago := _AGO.fullmatch(text):
        return now - timedelta(**{_STEPS[ago[2]]: int(ago[1])})
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(
            f"{option} {text!r} is no time", remedy="write 2026-11-01, 2026-11-01T12:00Z, 24h or 7d"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _report(
    name: str, by: Sequence[By], since: str | None, until: str | None, output: Format, *, simulated: bool
) -> None:
    now = datetime.now(UTC)
    asked = {"since": moment(since, "--since", now), "until": moment(until, "--until", now)}
    with open_operator() as operator:
        report = operator.report(name, by=[item.value for item in by], simulated=simulated, **asked)
    if output is Format.JSON:
        print_json(report.model_dump(mode="json"))
    elif output is Format.CSV:
        writer = csv.DictWriter(sys.stdout, report.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(report.rows)
    else:
        _table(report)


def _table(report: MarketReport) -> None:
    kind = "simulated nodes only" if report.simulated else "simulated nodes left out"
    remarks().print(f"{report.report}, {_day(report.since)} to {_day(report.until)} UTC, {kind}")
    if not report.rows:
        remarks().print("nothing happened in that time")
        return
    results().print(table_of(report.rows, [_column(name) for name in report.columns]))


def _column(name: str) -> Column:
    """By the unit that its name ends in."""
    ending, title, cell = next((kind for kind in _CELLS if name.endswith(kind[0])), ("", "", _text))
    words = name.removesuffix(ending).replace("_", " ").strip().upper()
    figure = bool(ending) or name in ("jobs", "usage_lines")
    return Column(f"{words} {title}".strip(), lambda row: _cell(row[name], cell), right=figure, rank=0)


def _cell(value: Any, shown: Callable[[Any], str]) -> str:
    return "-" if value is None else shown(value)


def _text(value: Any) -> str:
    """Hours and days without what is always zero."""
    return str(value).replace("T00:00:00Z", "").replace(":00:00Z", "h").replace("T", " ") or "(none)"


def _hours(milliseconds: int) -> str:
    return f"{milliseconds / 3_600_000:,.2f}"


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:,.3f}"


def _percent(ppm: int) -> str:
    return f"{ppm / 10_000:.2f} %"


_CELLS: tuple[tuple[str, str, Callable[[Any], str]], ...] = (
    ("_microusd", "USDC", format_usdc),
    ("_unit_ms", "UNIT-HOURS", _hours),
    ("_ms", "SECONDS", _seconds),
    ("_ppm", "", _percent),
)


def _day(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
