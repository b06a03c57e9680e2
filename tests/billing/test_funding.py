"""A job is funded before it runs: its first window at submission, again for each retry, and given back at its end."""

import pytest
from books import Books
from sqlalchemy.exc import IntegrityError

from billing.charging import bills, funding
from billing.charging.bills import JobCost
from billing.charging.funding import FundedWindow, JobTerms
from infra.outbox import NotReady
from market.errors import InsufficientFunds, InvalidInput
from market.states import Reason

PER_SECOND = 1000


def requeue(books: Books, terms: JobTerms, placed: int = 1, remaining: int = 5000) -> None:
    funding.requeue(
        books.session,
        terms.job_id,
        attempts_placed=placed,
        remaining_seconds=remaining,
        now=books.now,
        config=books.config,
    )


def test_opening_a_job_holds_its_first_window(books: Books) -> None:
    books.deposit(2_000_000)
    terms = books.terms()
    assert books.open(terms) == FundedWindow(900, 900 * PER_SECOND)
    assert books.money() == (1_100_000, 900_000)
    assert bills.costs(books.session, [terms.job_id, "job_unknown"]) == {terms.job_id: JobCost(0, 900_000, False)}
    books.check()


@pytest.mark.parametrize(
    ("changed", "seconds"),
    [({"max_duration_seconds": 120}, 120), ({"max_total_microusd": 60 * PER_SECOND + 999}, 60)],
)
def test_the_first_window_is_no_longer_than_the_jobs_limits(
    books: Books, changed: dict[str, int], seconds: int
) -> None:
    books.deposit(2_000_000)
    assert books.open(books.terms(**changed)).seconds == seconds
    books.check()


def test_a_job_that_cannot_be_funded_is_refused_with_what_is_missing(books: Books) -> None:
    books.deposit(100_000)
    with pytest.raises(InsufficientFunds) as refusal:
        books.open(books.terms())
    assert "0.90 USDC must be held" in refusal.value.detail and "0.10 USDC is available" in refusal.value.detail
    assert "gridbay deposit 0.80" in refusal.value.remedy
    assert books.money() == (100_000, 0)


def test_a_budget_below_one_second_is_the_inputs_fault(books: Books) -> None:
    books.deposit(100_000)
    with pytest.raises(InvalidInput) as refusal:
        books.open(books.terms(max_total_microusd=PER_SECOND - 1))
    assert refusal.value.errors[0].pointer == "/budget/max_total"


def test_of_many_jobs_those_are_funded_that_the_money_is_enough_for(books: Books) -> None:
    books.deposit(2_000_000)
    jobs = [books.terms(), books.terms(max_total_microusd=PER_SECOND - 1), books.terms(), books.terms()]
    outcomes = funding.open_jobs(books.session, jobs, books.now, books.config)
    assert [type(outcome) for outcome in outcomes] == [FundedWindow, InvalidInput, FundedWindow, InsufficientFunds]
    assert books.money() == (200_000, 1_800_000)
    with pytest.raises(IntegrityError), books.session.begin_nested():
        books.open(books.terms(job_id=jobs[0].job_id, max_duration_seconds=1))
    books.check()


def test_the_found_price_frees_what_the_price_limit_held_too_much(books: Books) -> None:
    books.deposit(1_000_000)
    terms = books.terms()
    books.open(terms)
    books.place(terms, price=1_800_000)
    assert books.money() == (550_000, 450_000)
    books.check()


def test_a_retry_holds_a_new_first_window_once(books: Books) -> None:
    books.deposit(3_000_000)
    terms, placed, _ = books.run()
    books.end(placed)
    requeue(books, terms)
    requeue(books, terms)
    assert books.money() == (3_000_000 - 1_800_000, 1_800_000)
    assert [message["seconds"] for message in books.told("JobFunded")] == [900]
    books.check()


def test_a_retry_has_only_the_time_that_is_left(books: Books) -> None:
    books.deposit(3_000_000)
    terms, placed, _ = books.run()
    books.end(placed)
    requeue(books, terms, remaining=100)
    assert books.told("JobFunded")[-1]["seconds"] == 100


def test_a_retry_waits_for_the_attempt_before_it_to_be_known_and_settled(books: Books) -> None:
    books.deposit(900_000)
    terms = books.terms()
    books.open(terms)
    with pytest.raises(NotReady):
        requeue(books, terms)
    placed = books.place(terms)
    books.end(placed)
    with pytest.raises(NotReady, match="not settled"):
        requeue(books, terms)
    books.wait(60)
    books.capture()
    requeue(books, terms)
    assert books.money() == (0, 900_000)
    books.check()


def test_a_retry_that_cannot_be_paid_is_refused(books: Books) -> None:
    books.deposit(900_000)
    terms, placed, stream = books.run(max_total_microusd=900_000)
    books.wait(900)
    books.report(stream.read(899_500, final=True))
    books.end(placed)
    requeue(books, terms)
    refused = books.told("FundingRefused")
    assert [(item["lease_id"], item["reason"]) for item in refused] == [(None, Reason.STOPPED_BUDGET_EXHAUSTED)]
    books.check()


def test_the_end_of_a_job_gives_back_what_waits_for_an_attempt_that_never_comes(books: Books) -> None:
    books.deposit(1_000_000)
    terms = books.terms()
    books.open(terms)
    with pytest.raises(NotReady):
        funding.end_job(books.session, terms.job_id, 1, books.now)
    for _ in range(2):
        funding.end_job(books.session, terms.job_id, 0, books.now)
    requeue(books, terms, placed=0)
    assert books.money() == (1_000_000, 0)
    assert bills.costs(books.session, [terms.job_id])[terms.job_id] == JobCost(0, 0, True)
    books.check()


def test_the_end_of_a_job_leaves_the_hold_of_a_lease_to_its_capture(books: Books) -> None:
    books.deposit(1_000_000)
    terms, placed, stream = books.run()
    funding.end_job(books.session, terms.job_id, 1, books.now)
    assert books.money() == (100_000, 900_000)
    books.wait(10)
    books.end(placed)
    books.report(stream.read(9_000, final=True))
    books.capture()
    assert bills.costs(books.session, [terms.job_id])[terms.job_id] == JobCost(9_000, 0, True, 9_000)
    assert books.money() == (991_000, 0)
    books.check()
