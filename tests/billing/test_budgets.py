"""Budgets bind windows as they are funded: of all jobs or of a label's, by the hour, the day and the month."""

from datetime import timedelta

import pytest
from books import HOUR, ORGANIZATION, Books, Stream

from billing.charging import budgets, funding
from billing.charging.budgets import Budget, BudgetSpent, Period
from market.errors import Conflict, InsufficientFunds, NotFound
from market.messages import FundingRefused
from market.states import Reason

WINDOW = 900_000
"""Of the usual job, in micro-USDC."""


def limit(books: Books, amount: int, period: Period = Period.HOUR, label: str = "") -> Budget:
    return budgets.set_budget(books.session, ORGANIZATION, label, period, amount, books.now)


def used(books: Books) -> list[int]:
    return [item.used_microusd for item in budgets.listed(books.session, ORGANIZATION, books.now)]


def refusals(books: Books) -> list[FundingRefused]:
    return [FundingRefused.model_validate(item) for item in books.told("FundingRefused")]


def test_a_job_that_its_budget_does_not_cover_is_refused_with_what_to_do(books: Books) -> None:
    books.deposit(10 * WINDOW)
    limit(books, WINDOW + 1)
    books.open(books.terms())
    with pytest.raises(BudgetSpent) as refused:
        books.open(books.terms())
    assert refused.value.code == "budget_spent"
    assert refused.value.detail == (
        "0.90 USDC must be held for the first 900 seconds of this job, and the budget of 0.900001 USDC an hour has "
        "0.000001 USDC left until 2036-11-21 13:00 UTC"
    )
    assert "gridbay budget set" in refused.value.remedy
    assert books.money() == (9 * WINDOW, WINDOW)
    books.check()


def test_jobs_of_one_batch_share_what_is_left(books: Books) -> None:
    books.deposit(10 * WINDOW)
    limit(books, 2 * WINDOW)
    outcomes = funding.open_jobs(books.session, [books.terms() for _ in range(3)], books.now, books.config)
    assert [isinstance(item, BudgetSpent) for item in outcomes] == [False, False, True]
    assert used(books) == [2 * WINDOW]
    books.check()


def test_a_labels_budget_binds_its_jobs_alone_and_the_tightest_decides(books: Books) -> None:
    books.deposit(10 * WINDOW)
    limit(books, 3 * WINDOW)
    limit(books, WINDOW, label="team=vision")
    vision = books.terms(labels=("team=vision", "stage=dev"))
    books.open(vision)
    with pytest.raises(BudgetSpent, match="for team=vision"):
        books.open(books.terms(labels=("team=vision",)))
    books.open(books.terms(labels=("team=speech",)))
    books.open(books.terms())
    with pytest.raises(BudgetSpent, match=r"of 2\.70 USDC an hour has 0\.00"):
        books.open(books.terms())
    assert used(books) == [3 * WINDOW, WINDOW]
    books.check()


def test_a_short_balance_is_named_before_a_budget_that_would_do(books: Books) -> None:
    books.deposit(WINDOW - 1)
    limit(books, WINDOW)
    with pytest.raises(InsufficientFunds):
        books.open(books.terms())


@pytest.mark.parametrize(("period", "wait"), [(Period.HOUR, HOUR), (Period.DAY, 12 * HOUR), (Period.MONTH, 10 * 86400)])
def test_a_new_period_begins_with_nothing_used(books: Books, period: Period, wait: int) -> None:
    books.deposit(10 * WINDOW)
    budget = limit(books, WINDOW, period)
    books.open(books.terms())
    books.wait((budget.ends_at - books.now).total_seconds() - 1)
    assert budget.ends_at - books.now == timedelta(seconds=1)
    assert budget.ends_at - budget.starts_at >= timedelta(seconds=min(wait, 28 * 86400))
    with pytest.raises(BudgetSpent):
        books.open(books.terms())
    books.wait(1)
    books.open(books.terms())
    assert used(books) == [WINDOW]
    books.check()


def test_what_a_window_gives_back_is_there_again(books: Books) -> None:
    books.deposit(10 * WINDOW)
    limit(books, 2 * WINDOW)
    terms = books.terms()
    books.open(terms)
    placed = books.place(terms, price=1_800_000)
    assert used(books) == [WINDOW // 2], "trimmed to the price that was found"
    books.wait(10)
    books.report(Stream(placed.lease_id).read(10_000, final=True))
    books.end(placed)
    assert used(books) == [5_000]
    waiting = books.terms()
    books.open(waiting)
    funding.end_job(books.session, waiting.job_id, 0, books.now)
    assert used(books) == [5_000], "a job that never ran"
    books.check()


def test_a_budget_counts_what_was_funded_before_it_was_set(books: Books) -> None:
    books.deposit(10 * WINDOW)
    placed, stream = books.run()[1:]
    books.wait(100)
    books.report(stream.read(100_000, final=True))
    books.end(placed)
    _, running, stream = books.run(labels=("team=vision",))
    limit(books, 5 * WINDOW)
    limit(books, 5 * WINDOW, Period.MONTH, "team=vision")
    assert used(books) == [100_000 + WINDOW, WINDOW]
    books.wait(10)
    books.report(stream.read(10_000, final=True))
    books.end(running)
    assert used(books) == [110_000, 10_000], "what was open then is settled now"
    books.check()


def test_a_budget_counts_windows_that_are_funded_and_have_not_begun(books: Books) -> None:
    books.deposit(10 * WINDOW)
    books.wait(2700)
    _, placed, stream = books.run()
    books.wait(180)
    books.fund()
    limit(books, 5 * WINDOW)
    assert used(books) == [WINDOW], "the next window begins in the next hour"
    books.wait(720)
    assert used(books) == [WINDOW]
    books.report(stream.read(900_000, final=True))
    books.end(placed)
    assert used(books) == [0]
    books.check()


def test_a_live_job_is_refused_its_next_window_once_and_told_by_which_budget(books: Books) -> None:
    books.deposit(10 * WINDOW)
    limit(books, WINDOW + 50_000, Period.DAY, "team=vision")
    books.run(labels=("team=vision",))
    for _ in range(200):
        books.wait(5)
        books.fund()
    (refused,) = refusals(books)
    assert refused.reason is Reason.STOPPED_BUDGET_EXHAUSTED
    assert refused.detail == ("the budget of 0.95 USDC a day for team=vision is used up until 2036-11-22 00:00 UTC")
    assert books.money()[1] == WINDOW, "less than a minute is no window of its own"
    books.check()


def test_the_last_of_a_budget_buys_a_shorter_window(books: Books) -> None:
    books.deposit(10 * WINDOW)
    limit(books, WINDOW + 100_000)
    books.run()
    for _ in range(179):
        books.wait(5)
        books.fund()
    assert books.money() == (9 * WINDOW - 100_000, WINDOW + 100_000)
    assert used(books) == [WINDOW + 100_000]
    books.check()


def test_an_hours_budget_lets_a_job_go_on_in_the_next_hour(books: Books) -> None:
    books.deposit(10 * WINDOW)
    limit(books, 2 * WINDOW)
    books.wait(1800)
    _, placed, _ = books.run()
    for _ in range(600):
        books.wait(5)
        books.fund()
    assert refusals(books) == []
    assert used(books) == [2 * WINDOW], "a window counts in the hour in which it begins"
    assert books.now - placed.granted_at == timedelta(seconds=3000)
    books.check()


def test_a_retry_that_no_budget_covers_ends_the_job_and_says_why(books: Books) -> None:
    books.deposit(10 * WINDOW)
    terms, placed, stream = books.run()
    books.wait(60)
    books.report(stream.read(60_000, final=True))
    books.end(placed)
    limit(books, WINDOW)
    funding.requeue(
        books.session, terms.job_id, attempts_placed=1, remaining_seconds=3600, now=books.now, config=books.config
    )
    (refused,) = refusals(books)
    assert (refused.lease_id, refused.reason) == (None, Reason.STOPPED_BUDGET_EXHAUSTED)
    assert "the budget of 0.90 USDC an hour is used up" in refused.detail


def test_a_jobs_own_limit_is_not_blamed_on_a_budget(books: Books) -> None:
    books.deposit(10 * WINDOW)
    limit(books, WINDOW + 1)
    books.run(max_total_microusd=WINDOW)
    books.wait(870)
    books.fund()
    (refused,) = refusals(books)
    assert (refused.reason, refused.detail) == (Reason.STOPPED_BUDGET_EXHAUSTED, "")


def test_a_raised_limit_binds_at_once_and_a_lowered_one_takes_nothing_back(books: Books) -> None:
    books.deposit(10 * WINDOW)
    first = limit(books, WINDOW)
    books.open(books.terms())
    assert limit(books, 2 * WINDOW).budget_id == first.budget_id
    books.open(books.terms())
    lowered = limit(books, 0)
    assert (lowered.used_microusd, lowered.left_microusd) == (2 * WINDOW, 0)
    with pytest.raises(BudgetSpent):
        books.open(books.terms())
    books.check()


def test_free_work_needs_no_budget(books: Books) -> None:
    limit(books, 0)
    books.open(books.terms(price_limit_microusd_per_unit_hour=0))
    books.check()


def test_a_removed_budget_binds_nothing_and_its_windows_still_settle(books: Books) -> None:
    books.deposit(10 * WINDOW)
    budget = limit(books, WINDOW)
    _, placed, stream = books.run()
    with pytest.raises(NotFound):
        budgets.remove_budget(books.session, "org_B", budget.budget_id)
    budgets.remove_budget(books.session, ORGANIZATION, budget.budget_id)
    with pytest.raises(NotFound):
        budgets.remove_budget(books.session, ORGANIZATION, budget.budget_id)
    books.open(books.terms())
    books.wait(10)
    books.report(stream.read(10_000, final=True))
    books.end(placed)
    assert used(books) == []
    limit(books, WINDOW)
    with pytest.raises(BudgetSpent):
        books.open(books.terms())
    books.check()


def test_an_organization_has_so_many_budgets_and_no_more(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "BUDGETS_MAX", 2)
    limit(books, 1)
    limit(books, 1, Period.DAY)
    with pytest.raises(Conflict):
        limit(books, 1, Period.MONTH)
    limit(books, 2)
    assert len(used(books)) == 2


def test_nobody_elses_budget_binds(books: Books) -> None:
    books.deposit(10 * WINDOW)
    budgets.set_budget(books.session, "org_B", "", Period.HOUR, 0, books.now)
    books.open(books.terms())
    assert used(books) == []
