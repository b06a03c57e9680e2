"""A hold is captured once, for what was used: provider's share, fee, rounding; the rest goes back."""

from threading import Thread

import pytest
from books import PROVIDER, Books, Stream
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from billing.charging import bills
from billing.charging.bills import JobCost
from billing.ledger import accounts, posting
from billing.metering import usage
from billing.settling import earnings
from billing.tables.bills import UsageLineRow
from infra.database import Database
from infra.outbox import NotReady
from market.clock import ManualClock


def test_a_short_job_is_charged_to_the_millisecond_and_the_rest_returns(books: Books) -> None:
    books.deposit(1_000_000)
    terms, placed, stream = books.run()
    books.wait(12)
    books.report(stream.read(10_999, final=True))
    books.end(placed)
    assert bills.costs(books.session, [terms.job_id])[terms.job_id].total_microusd == 10_999
    assert books.money() == (1_000_000 - 10_999, 0)
    (line,) = bills.lines(books.session, terms.job_id)
    assert (line.provider_microusd, line.fee_microusd, line.rounding_microusd) == (10_449, 549, 1)
    assert (line.attempt_number, line.window_number, line.run_ms, line.epoch) == (1, 0, 10_999, None)
    assert earnings.of_provider(books.session, PROVIDER).payable_microusd == 10_449
    assert posting.balances(books.session, [accounts.FEES, accounts.ROUNDING]) == {
        accounts.FEES: 549,
        accounts.ROUNDING: 1,
    }
    books.check()


def test_windows_of_a_long_job_add_up_to_the_charge_of_the_whole(books: Books) -> None:
    books.deposit(10_000_000)
    terms, placed, stream = books.run(price_limit_microusd_per_unit_hour=3_333_333, quantity_milli=700)
    for _ in range(40):
        books.wait(90)
        run_ms = int((books.now - placed.granted_at).total_seconds() * 1000) - 1_234
        books.report(stream.read(run_ms))
        books.fund()
        books.capture()
        books.check()
    books.report(stream.read(3_600_000 - 1_000, final=True))
    books.end(placed)
    lines = bills.lines(books.session, terms.job_id)
    assert [line.window_number for line in lines] == [0, 1, 2, 3, 4]
    assert sum(line.run_ms for line in lines) == 3_599_000
    assert sum(line.amount_microusd for line in lines) == 700 * 3_599_000 * 3_333_333 // 3_600_000_000
    books.check()


def test_no_time_after_the_end_is_billed_whatever_the_readings_say(books: Books) -> None:
    books.deposit(1_000_000)
    terms, placed, stream = books.run()
    ended_at = books.wait(100)
    books.wait(200)
    books.report(stream.read(290_000, final=True))
    books.end(placed, ended_at)
    assert bills.costs(books.session, [terms.job_id])[terms.job_id].total_microusd == 100_000
    books.check()


def test_two_streams_of_one_lease_add_up(books: Books) -> None:
    books.deposit(1_000_000)
    terms, placed, stream = books.run()
    books.wait(100)
    books.report(stream.read(40_000))
    second = Stream(placed.lease_id)
    books.report(second.read(30_000, final=True))
    books.end(placed)
    assert bills.costs(books.session, [terms.job_id])[terms.job_id].total_microusd == 70_000


def test_a_lost_node_is_billed_up_to_its_last_durable_reading(books: Books) -> None:
    books.deposit(1_000_000)
    terms, placed, stream = books.run()
    books.wait(60)
    books.report(stream.read(50_000))
    books.wait(30)
    books.end(placed)
    assert bills.lines(books.session, terms.job_id) == []
    books.wait(60)
    assert books.capture() == 1
    assert books.capture() == 0
    assert books.money() == (950_000, 0)
    books.check()


@pytest.mark.parametrize("ends_first", [False, True], ids=["the lease lives", "the lease has ended"])
def test_a_last_reading_asks_for_a_capture_where_one_waits_for_it(
    books: Books, monkeypatch: pytest.MonkeyPatch, ends_first: bool
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(usage, "wake", lambda _, task: asked.append(task))
    books.deposit(1_000_000)
    _, placed, stream = books.run()
    books.report(stream.read(1_000))
    if ends_first:
        books.end(placed)
    books.report(stream.read(2_000, final=True))
    assert asked == (["billing.capture"] if ends_first else [])


def test_readings_after_the_settlement_change_no_bill(books: Books) -> None:
    books.deposit(1_000_000)
    terms, placed, stream = books.run()
    books.wait(60)
    first, late = stream.read(50_000), stream.read(60_000, final=True)
    books.report(first)
    books.end(placed)
    books.wait(60)
    books.capture()
    books.report(late)
    assert books.capture() == 0
    assert bills.costs(books.session, [terms.job_id])[terms.job_id].total_microusd == 50_000
    books.check()


def test_an_end_that_is_told_twice_or_too_early_bills_once(books: Books) -> None:
    books.deposit(1_000_000)
    terms, placed, stream = books.run()
    books.wait(10)
    books.report(stream.read(9_000, final=True))
    with pytest.raises(NotReady):
        books.end(placed.model_copy(update={"lease_id": "lease_unknown"}))
    books.end(placed)
    books.wait(100)
    books.end(placed)
    assert bills.costs(books.session, [terms.job_id])[terms.job_id].total_microusd == 9_000
    books.check()


def test_a_simulated_lease_runs_through_the_same_lines_and_costs_nothing(books: Books) -> None:
    books.deposit(1_000_000)
    terms = books.terms()
    books.open(terms)
    placed = books.place(terms, price=0)
    assert books.money() == (1_000_000, 0)
    books.wait(10)
    books.report(Stream(placed.lease_id).read(9_000, final=True))
    books.end(placed)
    (line,) = bills.lines(books.session, terms.job_id)
    assert (line.run_ms, line.amount_microusd) == (9_000, 0)
    assert earnings.of_provider(books.session, PROVIDER).payable_microusd == 0
    books.check()


def test_price_and_lines_and_settled_holds_are_frozen(books: Books) -> None:
    books.deposit(1_000_000)
    _, placed, stream = books.run()
    books.wait(10)
    books.report(stream.read(9_000, final=True))
    books.end(placed)
    for statement in (
        "UPDATE metered_leases SET price_microusd_per_unit_hour = 1",
        "UPDATE metered_leases SET charged_microusd = 1",
        "UPDATE usage_lines SET amount_microusd = 1, provider_microusd = 1, fee_microusd = 0, rounding_microusd = 0",
        "DELETE FROM usage_lines",
        "UPDATE holds SET captured_microusd = 0",
        "UPDATE windows SET settled_at = NULL",
    ):
        with (
            pytest.raises(DBAPIError, match=r"frozen|never changes|is kept|settled once"),
            books.session.begin_nested(),
        ):
            books.session.execute(text(statement))


def test_two_captures_at_once_write_one_line(database: Database, clock: ManualClock) -> None:
    with database.transaction() as session:
        books = Books(session, clock)
        books.deposit(1_000_000)
        terms, placed, stream = books.run()
        books.report(stream.read(9_000, final=True))
    done = []

    def other() -> None:
        with database.transaction() as session:
            Books(session, clock).end(placed, placed.held_until)
            done.append(Books(session, clock).capture())

    with database.transaction() as session:
        Books(session, clock).end(placed, placed.held_until)
        thread = Thread(target=other)
        thread.start()
        blocked = text(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        while thread.is_alive() and not session.scalar(blocked):
            # A transaction sees its first look at the statistics again and again, unless it forgets it.
            session.execute(text("SELECT pg_stat_clear_snapshot()"))
        with database.transaction() as third:
            assert Books(third, clock).capture() == 0
    thread.join(20)
    with database.read() as session:
        assert done == [0]
        assert session.scalar(select(func.count()).select_from(UsageLineRow)) == 1
        assert bills.costs(session, [terms.job_id])[terms.job_id] == JobCost(9_000, 0, False, 9_000)
        Books(session, clock).check()
