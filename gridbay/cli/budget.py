"""`gridbay budget`: what may be spent in an hour, a day or a month, and being told of a balance that ends."""

from enum import StrEnum
from typing import Annotated

import typer

from gridbay.cli import wording
from gridbay.cli.console import Output, OutputOption
from gridbay.cli.listing import Column, show, show_one
from gridbay.cli.session import open_market
from market.errors import InvalidInput
from market.funds_api import BudgetView
from market.money import format_usdc, parse_usdc

app = typer.Typer(no_args_is_help=True)
EVENTS_SHOWN = 50


class Period(StrEnum):
    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


COLUMNS = (
    Column("BUDGET", lambda one: one.budget_id, rank=1),
    Column("FOR", lambda one: one.label or "all jobs", rank=0),
    Column("EACH", lambda one: one.period, rank=0),
    Column("LIMIT", lambda one: one.limit.usdc, right=True, rank=0),
    Column("USED", lambda one: one.used.usdc, right=True, rank=0),
    Column("LEFT", lambda one: one.left.usdc, right=True, rank=0),
    Column("UNTIL", lambda one: wording.moment(one.ends_at), rank=2),
)
EVENT_COLUMNS = (
    Column("TOLD", lambda one: wording.moment(one.told_at), rank=0),
    Column("WHAT", lambda one: one.kind, rank=0),
    Column("DETAIL", lambda one: one.detail, wraps=True, rank=0),
    Column("OVER", lambda one: wording.moment(one.over_at) if one.over_at else "lasts", rank=1),
)


@app.callback()
def budget() -> None:
    """Set what may be spent in an hour, a day or a month."""


@app.command("set")
def set_budget(
    limit: Annotated[str, typer.Argument(metavar="USDC", help="The most in one period.", show_default=False)],
    each: Annotated[Period, typer.Option("--each", help="The period, of the calendar in UTC.")] = Period.MONTH,
    label: Annotated[
        str, typer.Option("--label", help="Bind jobs with this label alone, as `labels: [team=vision]` in job.yaml.")
    ] = "",
    output: OutputOption = Output.TABLE,
) -> None:
    """Set a budget, or its limit anew; needs an owner's token."""
    with open_market() as market:
        kept = market.set_budget(_usdc(limit), each.value, label)
    show_one(kept, _facts(kept), output, name=kept.budget_id)


@app.command("list")
def list_budgets(output: OutputOption = Output.TABLE) -> None:
    """List the budgets and what is left of each."""
    with open_market() as market:
        found = market.budgets()
    if not found and output is Output.TABLE:
        print("no budget binds your jobs: gridbay budget set 100 --each month")
        return
    show(found, COLUMNS, output, name=lambda one: one.budget_id)


@app.command("remove")
def remove_budget(
    budget_id: Annotated[str, typer.Argument(metavar="BUDGET", help="As `list` shows it.", show_default=False)],
) -> None:
    """Remove a budget."""
    with open_market() as market:
        market.remove_budget(budget_id)
    print(f"{budget_id} is removed")


@app.command("events")
def events(output: OutputOption = Output.TABLE) -> None:
    """Show what you were told of your balance and your budgets, newest first."""
    with open_market() as market:
        found = market.money_events(limit=EVENTS_SHOWN)
    if not found and output is Output.TABLE:
        print("nothing was told: the balance and every budget last")
        return
    show(found, EVENT_COLUMNS, output, name=lambda one: one.event_id)


@app.command("warn")
def warn(
    low: Annotated[str | None, typer.Option("--low", metavar="USDC", help="Tell me below so much; 0: never.")] = None,
    hours: Annotated[
        int | None, typer.Option("--hours", min=0, max=8784, help="... when it lasts for less than so long; 0: never.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say from when on you are told that the balance is low, or show it."""
    with open_market() as market:
        watch = market.money_watch()
        if low is not None or hours is not None:
            watch = market.set_money_watch(
                watch.low.microusd if low is None else _usdc(low), watch.forecast_hours if hours is None else hours
            )
    rows = [("below", f"{watch.low.usdc} USDC"), ("lasts for less than", f"{watch.forecast_hours} hours")]
    show_one(watch, rows, output, name=watch.low.usdc)


def _facts(one: BudgetView) -> list[tuple[str, str]]:
    return [
        ("budget", one.budget_id),
        ("for", one.label or "all jobs"),
        ("each", one.period),
        ("limit", f"{one.limit.usdc} USDC"),
        ("used", f"{one.used.usdc} USDC"),
        ("left", f"{one.left.usdc} USDC until {wording.moment(one.ends_at)}"),
    ]


def _usdc(text: str) -> int:
    try:
        amount = parse_usdc(text)
    except ValueError as error:
        raise InvalidInput(str(error), remedy="gridbay budget set 100 --each month") from None
    if amount > 10**15:
        raise InvalidInput(f"{format_usdc(amount)} USDC is more than a budget can be, {format_usdc(10**15)} USDC")
    return amount
