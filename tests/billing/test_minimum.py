"""What an attempt is charged at least: once, where its customer or its command ended it, and as it was held for."""

import pytest
from books import Books

from billing.charging import bills, funding
from billing.charging.bills import BillLine
from billing.settling import epochs, receipts
from market.errors import InvalidInput
from market.receipts import verify_receipt
from market.states import Reason

MINIMUM = 60


@pytest.fixture
def dear(books: Books) -> Books:
    """A market where at least a minute is charged, with money; a second costs 1,000 micro-USDC."""
    books.config = books.config.model_copy(update={"minimum_seconds": MINIMUM})
    books.deposit(10_000_000)
    return books


def ran(books: Books, seconds: int, reason: Reason, **terms: object) -> list[BillLine]:
    """The bill of a job of one attempt that ended so."""
    of_job, placed, stream = books.run(**terms)
    books.wait(seconds)
    books.report(stream.read(seconds * 1000, final=True))
    books.end(placed, reason=reason)
    funding.end_job(books.session, of_job.job_id, 1, books.now)
    books.check()
    return bills.lines(books.session, of_job.job_id)


@pytest.mark.parametrize(
    ("seconds", "reason", "charged"),
    [
        (5, Reason.SUCCEEDED, 60_000),
        (5, Reason.FAILED_EXIT_CODE, 60_000),
        (5, Reason.STOPPED_BY_USER, 60_000),
        (60, Reason.SUCCEEDED, 60_000),
        (75, Reason.SUCCEEDED, 75_000),
        (0, Reason.FAILED_START, 0),
        (5, Reason.FAILED_PROVIDER_LOST, 5_000),
        (5, Reason.STOPPED_LEASE_EXPIRED, 5_000),
        (5, Reason.STOPPED_SPOT_RECLAIMED, 5_000),
    ],
)
def test_it_is_charged_where_its_customer_or_its_command_ended_it(
    dear: Books, seconds: int, reason: Reason, charged: int
) -> None:
    (line,) = ran(dear, seconds, reason)
    assert (line.run_ms, line.amount_microusd) == (seconds * 1000, charged)
    assert line.minimum_ms == (60_000 if charged > seconds * 1000 else 0)
    assert dear.money() == (10_000_000 - charged, 0)


def test_a_job_that_may_run_for_less_holds_it_all_the_same(dear: Books) -> None:
    (line,) = ran(dear, 5, Reason.SUCCEEDED, max_duration_seconds=10)
    assert line.amount_microusd == 60_000
    with pytest.raises(InvalidInput, match="less than the 60 seconds that are charged at least"):
        dear.open(dear.terms(max_total_microusd=59_999))
    assert dear.open(dear.terms(max_total_microusd=60_000)).amount_microusd == 60_000


def test_it_is_frozen_when_the_lease_begins(dear: Books) -> None:
    terms, placed, stream = dear.run()
    dear.config = dear.config.model_copy(update={"minimum_seconds": 600})
    dear.wait(5)
    dear.report(stream.read(5_000, final=True))
    dear.end(placed)
    assert bills.lines(dear.session, terms.job_id)[0].amount_microusd == 60_000


def test_a_receipt_shows_it_on_the_line_that_has_it(dear: Books) -> None:
    short, long = (ran(dear, seconds, Reason.SUCCEEDED) for seconds in (5, 75))
    epochs.close(dear.session, dear.now, dear.config)
    dear.check()
    jobs = [row.job_id for row in dear.session.execute(epochs.select(epochs.UsageLineRow.job_id))]
    shown = {}
    for job_id in jobs:
        receipt = receipts.receipt(dear.session, job_id, None)
        assert verify_receipt(receipt).problems == ()
        line = receipt.model_dump(mode="json")["lines"][0]["line"]
        shown[line["line_id"]] = line.get("minimum_ms")
    assert shown == {short[0].line_id: 60_000, long[0].line_id: None}
