"""A lease's discount is frozen when it begins: its provider earns as if there were none, and its receipt shows it."""

import pytest
from books import ORGANIZATION, PROVIDER, Books, Stream
from sqlalchemy import select, update
from sqlalchemy.exc import DBAPIError

from billing.charging import bills, funding
from billing.ledger import accounts, posting
from billing.settling import epochs, receipts
from billing.tables.bills import UsageLineRow
from billing.tables.metering import MeteredLeaseRow
from market.receipts import verify_receipt

PAID, ASKED = 3_528_000, 3_600_000
"""What is left of it after 2%."""


def ran(books: Books, *, price: int, discount: int) -> str:
    """A job that ran for ten seconds; the market's fee is 5%."""
    terms = books.terms()
    books.open(terms)
    placed = books.place(terms, price=price, discount=discount)
    stream = Stream(placed.lease_id)
    books.wait(10)
    books.report(stream.read(10_000, final=True))
    books.end(placed)
    funding.end_job(books.session, terms.job_id, 1, books.now)
    return terms.job_id


def test_the_provider_earns_what_it_would_without_and_the_fee_bears_it(books: Books) -> None:
    books.deposit(10_000_000)
    (usual,) = bills.lines(books.session, ran(books, price=ASKED, discount=0))
    (less,) = bills.lines(books.session, ran(books, price=PAID, discount=200))
    assert (usual.amount_microusd, usual.provider_microusd, usual.fee_microusd) == (10_000, 9_500, 500)
    assert (less.amount_microusd, less.provider_microusd, less.fee_microusd) == (9_800, 9_500, 300)
    assert posting.lock(books.session, [accounts.payable(PROVIDER)])[accounts.payable(PROVIDER)] == 19_000
    books.check()


def test_a_receipt_shows_it_and_one_of_before_has_no_such_field(books: Books) -> None:
    books.deposit(10_000_000)
    usual, less = ran(books, price=ASKED, discount=0), ran(books, price=PAID, discount=200)
    epochs.close(books.session, books.now, books.config)
    shown = [receipts.receipt(books.session, job_id, None) for job_id in (usual, less)]
    assert [verify_receipt(receipt).problems for receipt in shown] == [(), ()]
    of_usual, of_less = (receipt.model_dump(mode="json")["lines"][0]["line"] for receipt in shown)
    assert of_less.pop("discount_basis_points") == 200 and of_less.keys() == of_usual.keys()
    books.check()


def test_a_fee_that_was_lowered_meanwhile_still_covers_what_was_promised(books: Books) -> None:
    books.deposit(10_000_000)
    books.config = books.config.model_copy(update={"fee_basis_points": 100})
    (line,) = bills.lines(books.session, ran(books, price=PAID, discount=200))
    assert (line.amount_microusd, line.fee_microusd) == (9_800, 0)
    books.check()


def test_neither_a_lease_nor_a_line_changes_its_discount(books: Books) -> None:
    books.deposit(10_000_000)
    ran(books, price=PAID, discount=200)
    assert books.session.scalars(select(UsageLineRow.organization_id)).all() == [ORGANIZATION]
    for table in (MeteredLeaseRow, UsageLineRow):
        with pytest.raises(DBAPIError, match=r"frozen|never changes"), books.session.begin_nested():
            books.session.execute(update(table).values(discount_basis_points=0))
