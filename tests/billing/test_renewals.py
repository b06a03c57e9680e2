"""A live lease is funded ahead, as far as its limits and its money go, and is told when they end."""

from datetime import datetime, timedelta

import pytest
from books import Books

from market.states import Reason


def funded_until(books: Books) -> list[datetime]:
    return [datetime.fromisoformat(str(item["until"])) for item in books.told("JobFunded")]


def refusals(books: Books) -> list[object]:
    return [item["reason"] for item in books.told("FundingRefused")]


def test_the_next_window_is_held_early_in_the_last(books: Books) -> None:
    books.deposit(3_000_000)
    _, placed, _ = books.run()
    books.wait(179)
    assert books.fund() == 0
    books.wait(1)
    assert books.fund() == 1
    assert books.fund() == 0
    assert funded_until(books) == [placed.granted_at + timedelta(seconds=1800)]
    assert books.money() == (1_200_000, 1_800_000)
    books.check()


def test_windows_end_where_max_duration_ends_and_nothing_is_said(books: Books) -> None:
    books.deposit(3_000_000)
    _, placed, _ = books.run(max_duration_seconds=1000)
    for _ in range(4):
        books.wait(450)
        books.fund()
    assert funded_until(books) == [placed.granted_at + timedelta(seconds=1000)]
    assert refusals(books) == []
    books.check()


@pytest.mark.parametrize(
    ("deposit", "changed", "reason"),
    [
        (930_000, {}, Reason.STOPPED_BALANCE_EXHAUSTED),
        (3_000_000, {"max_total_microusd": 900_000}, Reason.STOPPED_BUDGET_EXHAUSTED),
    ],
)
def test_a_refusal_is_said_once_in_the_last_minute(
    books: Books, deposit: int, changed: dict[str, int], reason: Reason
) -> None:
    books.deposit(deposit)
    books.run(**changed)
    books.wait(839)
    books.fund()
    assert refusals(books) == []
    for _ in range(20):
        books.wait(5)
        books.fund()
    assert refusals(books) == [reason]
    assert books.fund() == 0
    books.check()


def test_money_that_comes_after_the_refusal_still_saves_the_job(books: Books) -> None:
    books.deposit(900_000)
    _, placed, _ = books.run()
    books.wait(870)
    books.fund()
    assert refusals(books) == [Reason.STOPPED_BALANCE_EXHAUSTED]
    books.deposit(2_000_000)
    books.wait(5)
    books.fund()
    assert funded_until(books) == [placed.granted_at + timedelta(seconds=1800)]


def test_the_last_money_buys_a_shorter_window(books: Books) -> None:
    books.deposit(900_000 + 100_000)
    _, placed, _ = books.run()
    for _ in range(179):
        books.wait(5)
        books.fund()
    assert funded_until(books) == [placed.granted_at + timedelta(seconds=1000)]
    assert books.money() == (0, 1_000_000)
    books.check()


def test_two_jobs_of_one_organization_cannot_both_take_its_last_money(books: Books) -> None:
    books.deposit(2 * 900_000 + 1_000_000)
    books.run()
    books.run()
    books.wait(450)
    assert books.fund() == 2
    assert books.money() == (100_000, 2_700_000)
    books.check()


def test_a_lease_that_has_ended_is_not_funded(books: Books) -> None:
    books.deposit(3_000_000)
    _, placed, _ = books.run()
    books.wait(450)
    books.end(placed)
    assert books.fund() == 0
