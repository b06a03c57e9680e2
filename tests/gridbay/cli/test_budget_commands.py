"""`gridbay budget`: set, list, remove, events, and when to be warned."""

from served_market import Answer, ServedMarket
from typed_command import Gridbay
from views import NOON

from market.customer_api import Money, Page
from market.funds_api import BudgetList, BudgetView, MoneyEventView, MoneyWatchView

KEPT = BudgetView(
    budget_id="bud_1", label="team=vision", period="month", limit=Money.of(5_000_000), used=Money.of(4_000_000),
    left=Money.of(1_000_000), starts_at=NOON, ends_at=NOON,
)  # fmt: skip


def test_a_budget_is_set_for_a_label_and_a_period(logged_in: ServedMarket, gridbay: Gridbay) -> None:
    logged_in.on("PUT /v1/budgets", KEPT)
    ended = gridbay("budget", "set", "5", "--each", "month", "--label", "team=vision")
    assert ended.code == 0 and "1.00 USDC until" in ended.out and "team=vision" in ended.out
    asked = {"label": "team=vision", "period": "month", "limit_microusd": 5_000_000}
    assert logged_in.seen[-1].json() == asked
    assert gridbay("budget", "set", "5", "-o", "quiet").out == "bud_1\n"


def test_what_is_no_amount_or_period_never_reaches_the_market(logged_in: ServedMarket, gridbay: Gridbay) -> None:
    for typed in (("much",), ("-1",), ("5", "--each", "year"), ("9000000000",)):
        assert gridbay("budget", "set", *typed).code == 2
    assert logged_in.seen == []


def test_budgets_are_listed_and_removed(logged_in: ServedMarket, gridbay: Gridbay) -> None:
    logged_in.on("GET /v1/budgets", BudgetList(items=[]))
    assert gridbay("budget", "list").out.startswith("no budget binds your jobs")
    logged_in.on("GET /v1/budgets", BudgetList(items=[KEPT, KEPT.model_copy(update={"label": ""})]))
    shown = gridbay("budget", "list").out
    for words in ("team=vision", "all jobs", "month", "5.00", "4.00", "1.00"):
        assert words in shown
    logged_in.on("DELETE /v1/budgets/{}", lambda seen: Answer(status=204 if seen.parts == ("bud_1",) else 404))
    assert gridbay("budget", "remove", "bud_1").out == "bud_1 is removed\n"


def test_events_are_shown_with_what_lasts(logged_in: ServedMarket, gridbay: Gridbay) -> None:
    told = MoneyEventView(
        event_id="evt_1", kind="balance_low", subject="", detail="0.10 USDC is available, less than 1.00 USDC",
        told_at=NOON, over_at=None,
    )  # fmt: skip
    logged_in.on("GET /v1/money/events", Page[MoneyEventView](items=[]))
    assert gridbay("budget", "events").out.startswith("nothing was told")
    logged_in.on("GET /v1/money/events", Page[MoneyEventView](items=[told]))
    shown = gridbay("budget", "events").out
    for words in ("balance_low", "0.10 USDC is available", "lasts"):
        assert words in shown


def test_only_what_is_said_of_the_warning_changes(logged_in: ServedMarket, gridbay: Gridbay) -> None:
    logged_in.on("GET /v1/money/watch", MoneyWatchView(low=Money.of(1_000_000), forecast_hours=24))
    assert "24 hours" in gridbay("budget", "warn").out and len(logged_in.seen) == 1
    logged_in.on("PUT /v1/money/watch", MoneyWatchView(low=Money.of(2_000_000), forecast_hours=24))
    assert "2.00 USDC" in gridbay("budget", "warn", "--low", "2").out
    assert logged_in.seen[-1].json() == {"low_microusd": 2_000_000, "forecast_hours": 24}
