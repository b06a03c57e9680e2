"""A balance or a budget that ends is told of: once when it comes to pass, and again after it was over."""

from books import ORGANIZATION, Books

from billing.charging import alerts, budgets
from billing.charging.alerts import Watch
from billing.charging.budgets import Period


def told(books: Books) -> list[tuple[str, bool]]:
    """What was told, oldest first, and whether it lasts."""
    alerts.watch(books.session, books.now, books.config)
    found = alerts.events(books.session, ORGANIZATION)
    return [(str(event.kind), event.over_at is None) for event in reversed(found)]


def details(books: Books) -> list[str]:
    return [event.detail for event in alerts.events(books.session, ORGANIZATION)]


def test_a_low_balance_is_told_once_and_again_after_it_was_over(books: Books) -> None:
    alerts.set_watch(books.session, ORGANIZATION, Watch(1_000_000, 0))
    books.deposit(1_000_000)
    assert told(books) == [], "as much as the mark is not below it"
    books.run()
    for _ in range(3):
        assert told(books) == [("balance_low", True)]
        books.wait(60)
    assert details(books) == ["0.10 USDC is available, less than 1.00 USDC"]
    books.deposit(5_000_000)
    assert told(books) == [("balance_low", False)]
    books.wait(1)
    for _ in range(5):
        books.open(books.terms())
    assert told(books) == [("balance_low", False), ("balance_low", True)]


def test_a_balance_is_forecast_by_what_the_jobs_of_now_cost(books: Books) -> None:
    alerts.set_watch(books.session, ORGANIZATION, Watch(0, 2))
    books.deposit(900_000 + 7_200_000)
    _, placed, _ = books.run()
    assert told(books) == [], "7.20 USDC last for two hours at 3.60"
    other = books.run(price_limit_microusd_per_unit_hour=400_000)[1]
    assert told(books) == [("balance_forecast", True)]
    assert details(books) == ["7.10 USDC is available; at 4.00 USDC an hour, as now, that lasts for 1 h 46 min"]
    books.end(other)
    books.wait(60)
    books.capture()
    assert told(books) == [("balance_forecast", False)]
    books.end(placed)
    books.wait(60)
    assert told(books) == [("balance_forecast", False)], "without a job no balance ends"


def test_the_markets_marks_hold_until_an_organization_sets_its_own(books: Books) -> None:
    usual = alerts.get_watch(books.session, ORGANIZATION, books.config)
    assert usual == Watch(1_000_000, 24)
    books.deposit(999_999)
    assert told(books) == [("balance_low", True)]
    alerts.set_watch(books.session, ORGANIZATION, Watch(0, 0))
    assert told(books) == [("balance_low", False)]
    books.run(price_limit_microusd_per_unit_hour=3_600_000, max_total_microusd=500_000)
    assert told(books) == [("balance_low", False)]


def test_a_budget_is_told_of_when_it_is_nearly_used_and_when_it_refuses(books: Books) -> None:
    books.deposit(100_000_000)
    alerts.set_watch(books.session, ORGANIZATION, Watch(0, 0))
    budgets.set_budget(books.session, ORGANIZATION, "", Period.HOUR, 900_000 * 10 // 8, books.now)
    books.run()
    assert told(books) == [("budget_low", True)]
    assert details(books) == ["0.90 USDC of the budget of 1.125 USDC an hour is used"]
    for _ in range(240):
        books.wait(5)
        books.fund()
        if books.now.minute < 18:
            told(books)
    assert sorted(told(books)) == [("budget_low", True), ("budget_spent", True)]
    books.wait(3600)
    assert sorted(told(books)) == [("budget_low", False), ("budget_spent", False)], "a new hour"


def test_a_refusal_of_the_next_hour_is_told_although_nobody_looked_between(books: Books) -> None:
    alerts.set_watch(books.session, ORGANIZATION, Watch(0, 0))
    budget = budgets.set_budget(books.session, ORGANIZATION, "", Period.HOUR, 1, books.now)
    alerts.tell_spent(books.session, budget, books.now)
    alerts.tell_spent(books.session, budget, books.wait(10))
    books.wait(3600)
    (again,) = budgets.listed(books.session, ORGANIZATION, books.now)
    alerts.tell_spent(books.session, again, books.now)
    assert [lasts for _, lasts in told(books)] == [False, True]


def test_what_somebody_was_told_is_nobody_elses(books: Books) -> None:
    books.deposit(1, "org_B")
    alerts.watch(books.session, books.now, books.config)
    assert alerts.events(books.session, ORGANIZATION) == []
    (event,) = alerts.events(books.session, "org_B")
    assert alerts.events(books.session, "org_B", before=(event.told_at, event.event_id)) == []
