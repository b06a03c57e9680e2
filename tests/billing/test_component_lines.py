"""What the price of a lease was made of is frozen, changes no charge, and is published with each of its lines."""

import pytest
from books import Books, Stream
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError

from billing.charging import bills, funding
from billing.metering.components import of_leases
from billing.settling import epochs, leaves, publication, receipts
from billing.tables.bills import EpochRow, UsageLineRow
from market.components import ComponentPrices, Components
from market.money import usage_charge_microusd
from market.receipts import LEFT_OUT, Receipt, line_problems, verify_receipt

GIB = 2**30
MADE = Components.of(3_000_000, ComponentPrices(50_000, 12_345, 100), (4_000, 16 * GIB + 1, 10**12))
ASKED = 3_000_000 + 4 * 50_000 + 16 * 12_345 + 10**14 // GIB
QUANTITY, RUN_MS = 1_000, 2_345_678


def ran(books: Books, made: Components | None, *, discount: int = 0) -> str:
    """A job that ran over three windows of a lease at that price."""
    price = ASKED if made is None else made.price_microusd(QUANTITY, discount)
    terms = books.terms(price_limit_microusd_per_unit_hour=price)
    books.open(terms)
    placed = books.place(terms, discount=discount, components=made)
    stream = Stream(placed.lease_id)
    for run_ms in (800_000, 1_700_000, RUN_MS):
        books.wait((run_ms - (stream.readings[-1].run_ms if stream.readings else 0)) / 1000)
        books.report(stream.read(run_ms, final=run_ms == RUN_MS))
        books.fund()
        books.capture()
    books.end(placed)
    funding.end_job(books.session, terms.job_id, 1, books.now)
    return terms.job_id


def receipt_of(books: Books, job_id: str) -> Receipt:
    return receipts.receipt(books.session, job_id, None)


def test_lines_add_up_to_the_charge_of_the_price_all_in_and_their_receipt_proves_it(books: Books) -> None:
    books.deposit(100_000_000)
    jobs = {ran(books, MADE): MADE, ran(books, None): None}
    assert MADE.asked_microusd(QUANTITY) == ASKED
    epochs.close(books.session, books.now, books.config)
    for job_id, made in jobs.items():
        lines = bills.lines(books.session, job_id)
        assert len(lines) == 3 and [line.components for line in lines] == [made] * 3
        assert sum(line.amount_microusd for line in lines) == usage_charge_microusd(QUANTITY, RUN_MS, ASKED)
        receipt = receipt_of(books, job_id)
        assert verify_receipt(receipt).problems == ()
    books.check()


def test_lines_of_before_keep_their_fields(books: Books) -> None:
    books.deposit(100_000_000)
    usual, more = ran(books, None), ran(books, MADE)
    epochs.close(books.session, books.now, books.config)
    shown = [receipt_of(books, job_id).model_dump(mode="json")["lines"][0]["line"] for job_id in (usual, more)]
    assert not shown[0].keys() & LEFT_OUT
    told = {name for name, value in MADE.model_dump().items() if value}
    assert shown[1].keys() - shown[0].keys() == told and "bid_microusd_per_unit_hour" not in told


def test_a_close_hashes_what_is_published(books: Books) -> None:
    books.deposit(100_000_000)
    bid = MADE.model_copy(update={"bid_microusd_per_unit_hour": 2_000_000})
    for made in (None, MADE, bid):
        ran(books, made, discount=250 if made else 0)
    number = epochs.close(books.session, books.now, books.config)
    assert number is not None
    secret = books.session.get_one(EpochRow, number).secret
    published = publication.lines(books.session, number, 0).lines
    assert [line_problems(entry.line) for entry in published] == [[]] * 9
    assert {entry.line.bid_microusd_per_unit_hour for entry in published} == {0, 2_000_000}
    hashed = list(leaves.closed_leaves(books.session, secret, number, 0, 100))
    assert [leaf.digest for leaf in hashed] == [entry.line.leaf(bytes.fromhex(entry.salt)) for entry in published]
    books.check()


def test_it_is_frozen(books: Books) -> None:
    books.deposit(100_000_000)
    ran(books, MADE)
    (lease_id,) = books.session.scalars(select(UsageLineRow.lease_id).distinct())
    assert of_leases(books.session, [lease_id]) == {lease_id: MADE}
    for change in (
        "UPDATE metered_components SET cpu_milli = 0",
        "DELETE FROM metered_components",
        "TRUNCATE metered_components",
    ):
        with pytest.raises(DBAPIError, match="never changes"), books.session.begin_nested():
            books.session.execute(text(change))
