"""An epoch is the lines its close stamped; it never changes, and every bill in it can be proven without us."""

import json
from collections.abc import Callable
from random import Random
from threading import Thread
from typing import Any

import pytest
from books import ORGANIZATION, PROVIDER, Books
from pydantic import ValidationError
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError

from billing.charging import funding
from billing.settling import earnings, epochs, leaves, payouts, receipts, wallets
from billing.tables.bills import EpochRow, UsageLineRow
from infra.database import Database
from market import merkle
from market.clock import ManualClock
from market.errors import NotFound, Unavailable
from market.receipts import Receipt, verify_receipt

WALLET = "9xQeWvG816bUx9EPjHmaT23yvVM2ZWbrrpZb9PusVFin"


def finished(books: Books, run_ms: int = 50_000) -> str:
    """A job that ran, is billed and is over."""
    terms, placed, stream = books.run()
    books.wait(60)
    books.report(stream.read(run_ms, final=True))
    books.end(placed)
    funding.end_job(books.session, terms.job_id, 1, books.now)
    return terms.job_id


def close(books: Books) -> int | None:
    return epochs.close(books.session, books.now, books.config)


def test_a_close_stamps_every_open_line_and_the_next_has_only_newer_ones(books: Books) -> None:
    books.deposit(10_000_000)
    assert close(books) is None
    first = [finished(books) for _ in range(5)]
    assert close(books) == 1
    second = finished(books, 40_000)
    assert close(books) == 2
    assert close(books) is None
    status = epochs.status(books.session, 1)
    assert (status.line_count, status.total_microusd, status.anchor_signature) == (5, 250_000, None)
    assert epochs.status(books.session, 2).total_microusd == 40_000
    assert [message["epoch"] for message in books.told("EpochClosed")] == [1, 2]
    for job_id in [*first, second]:
        receipt = receipts.receipt(books.session, job_id, "treasury")
        assert verify_receipt(receipt).problems == ()
    with pytest.raises(NotFound):
        epochs.status(books.session, 3)
    books.check()


def test_a_close_takes_its_lines_page_by_page_and_leaves_what_is_too_much(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaves, "PAGE_LINES", 2)
    monkeypatch.setattr(merkle, "BLOCK", 2)
    monkeypatch.setattr(epochs, "LINES_MAX", 5)
    books.deposit(10_000_000)
    jobs = [finished(books, 1000 * number) for number in range(1, 9)]
    assert (close(books), close(books), close(books)) == (1, 2, None)
    assert [epochs.status(books.session, number).line_count for number in (1, 2)] == [5, 3]
    for job_id in jobs:
        assert verify_receipt(receipts.receipt(books.session, job_id, "treasury")).problems == ()
    books.check()


def test_a_closed_epoch_never_changes(books: Books) -> None:
    books.deposit(10_000_000)
    finished(books)
    close(books)
    finished(books)
    for statement in (
        "UPDATE epochs SET total_microusd = 1",
        "DELETE FROM epochs",
        "UPDATE usage_lines SET epoch = NULL, leaf_index = NULL, leaf_hash = NULL WHERE epoch = 1",
        "UPDATE usage_lines SET epoch = 1, leaf_index = 7, leaf_hash = '' WHERE epoch IS NULL",
        'INSERT INTO usage_lines SELECT (jsonb_populate_record(line, \'{"id": "x", "window_number": 9}\')).* '
        "FROM usage_lines line WHERE epoch = 1",
    ):
        with pytest.raises(DBAPIError, match=r"never changes|is closed|begins unstamped"), books.session.begin_nested():
            books.session.execute(text(statement))


def test_a_line_is_stamped_only_with_an_epoch_that_is_open_and_an_open_epoch_is_closed_at_once(books: Books) -> None:
    books.deposit(10_000_000)
    finished(books)
    stamped = "UPDATE usage_lines SET epoch = 1, leaf_index = 0, leaf_hash = ''"
    opened = "INSERT INTO epochs VALUES (1, '', 0, 0, 'secret', now())"
    with pytest.raises(DBAPIError, match="never opened"), books.session.begin_nested():
        books.session.execute(text(stamped))
    with pytest.raises(DBAPIError, match="opened and not closed"), books.session.begin_nested():
        books.session.execute(text(opened))
        books.session.execute(text(stamped))
        books.session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
    assert close(books) == 1


def test_a_receipt_waits_for_the_whole_bill_and_its_epoch(books: Books) -> None:
    books.deposit(10_000_000)
    terms, placed, stream = books.run()
    with pytest.raises(Unavailable, match="not complete"):
        receipts.receipt(books.session, terms.job_id)
    books.report(stream.read(1000, final=True))
    books.end(placed)
    funding.end_job(books.session, terms.job_id, 1, books.now)
    with pytest.raises(Unavailable, match="epoch of this bill is not closed yet") as refusal:
        receipts.receipt(books.session, terms.job_id)
    assert refusal.value.remedy
    with pytest.raises(NotFound):
        receipts.receipt(books.session, "job_unknown")


def test_a_job_over_several_attempts_and_epochs_has_one_receipt(books: Books) -> None:
    books.deposit(10_000_000)
    terms, placed, stream = books.run()
    books.wait(900)
    books.report(stream.read(899_000))
    books.fund()
    books.capture()
    close(books)
    books.end(placed)
    funding.requeue(
        books.session, terms.job_id, attempts_placed=1, remaining_seconds=900, now=books.now, config=books.config
    )
    again = books.place(terms, number=2)
    books.wait(60)
    books.capture()
    books.report(type(stream)(again.lease_id).read(30_000, final=True))
    books.end(again)
    funding.end_job(books.session, terms.job_id, 2, books.now)
    close(books)
    receipt = receipts.receipt(books.session, terms.job_id, "treasury")
    assert [entry.epoch.epoch for entry in receipt.lines] == [1, 2]
    assert receipt.total_microusd == 899_000 + 30_000
    assert verify_receipt(receipt).problems == ()


def test_parties_are_pseudonyms_that_change_with_the_epoch(books: Books) -> None:
    books.deposit(10_000_000)
    first, same = finished(books), finished(books)
    close(books)
    later = finished(books)
    close(books)
    lines = [receipts.receipt(books.session, job, "t").lines[0].line for job in (first, same, later)]
    assert lines[0].organization == lines[1].organization != lines[2].organization
    assert lines[0].provider == lines[1].provider != lines[2].provider
    text_ = "".join(line.model_dump_json() for line in lines)
    assert ORGANIZATION not in text_ and PROVIDER not in text_


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every leaf of a JSON document."""
    if isinstance(value, dict):
        return [place for key, item in value.items() for place in places(item, (*at, key))]
    if isinstance(value, list):
        return [place for index, item in enumerate(value) for place in places(item, (*at, index))]
    return [at]


def tampered(value: Any, random: Random) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return max(0, value + random.choice([-1, 1, 1000])) if value else 1
    index = random.randrange(len(value))
    other = random.choice([letter for letter in "0123456789abcdef" if letter != value[index]])
    return value[:index] + other + value[index + 1 :]


def test_a_receipt_with_anything_changed_does_not_verify(books: Books) -> None:
    books.deposit(10_000_000)
    for _ in range(5):
        finished(books)
    terms, placed, stream = books.run()
    for _ in range(3):
        books.wait(450)
        books.report(stream.read(int((books.now - placed.granted_at).total_seconds() * 1000) - 1500))
        books.fund()
        books.capture()
    books.report(stream.read(1_349_500, final=True))
    books.end(placed)
    funding.end_job(books.session, terms.job_id, 1, books.now)
    close(books)
    document = json.loads(receipts.receipt(books.session, terms.job_id).model_dump_json())
    assert len(document["lines"]) == 2
    # What only the chain can tell: where the root was anchored and by whom.
    told_by_the_chain = {"anchor_signature", "treasury"}
    for seed, place in enumerate(places(document) * 4):
        if place[-1] in told_by_the_chain:
            continue
        copy = json.loads(json.dumps(document))
        inner = copy
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = tampered(inner[place[-1]], Random(seed))
        try:
            receipt = Receipt.model_validate(copy)
        except ValidationError:
            continue
        assert not verify_receipt(receipt).ok, place
    for drop in range(2):
        copy = json.loads(json.dumps(document))
        del copy["lines"][drop]
        assert not verify_receipt(Receipt.model_validate(copy)).ok


def test_payouts_are_opened_for_who_earned_enough_and_has_a_wallet(books: Books) -> None:
    books.deposit(10_000_000)
    finished(books)
    close(books)
    assert earnings.of_provider(books.session, PROVIDER).payable_microusd == 47_500
    wallets.set_wallet(books.session, PROVIDER, WALLET, books.now)
    finished(books, 10_000)
    number = close(books)
    assert number == 2
    (payout,) = epochs.status(books.session, number).payouts
    assert (payout.provider_id, payout.wallet_address, payout.amount_microusd) == (PROVIDER, WALLET, 57_000)
    found = earnings.of_provider(books.session, PROVIDER)
    assert (found.payable_microusd, found.paying_microusd, found.paid_microusd) == (0, 57_000, 0)
    finished(books, 10_000)
    close(books)
    assert earnings.of_provider(books.session, PROVIDER).payable_microusd == 9_500, "below the least payout"
    assert len(payouts.of_provider(books.session, PROVIDER)) == 1
    books.check()


def test_the_newest_wallet_wins_whichever_is_heard_last(books: Books) -> None:
    books.deposit(10_000_000)
    before = books.now
    books.wait(10)
    wallets.set_wallet(books.session, PROVIDER, WALLET, books.now)
    wallets.set_wallet(books.session, PROVIDER, None, before)
    finished(books)
    close(books)
    assert len(payouts.of_provider(books.session, PROVIDER)) == 1


def test_an_epoch_closes_by_itself_when_it_is_old_enough(books: Books) -> None:
    books.deposit(10_000_000)
    hour = books.config.epoch_seconds

    def close_if_due() -> int | None:
        return epochs.close_if_due(books.session, books.now, books.config)

    finished(books)
    assert close_if_due() is None
    books.wait(hour)
    assert close_if_due() == 1
    finished(books)
    assert close_if_due() is None
    wallets.set_wallet(books.session, PROVIDER, WALLET, books.now)
    books.wait(hour - 61)
    assert close_if_due() is None
    books.wait(1)
    assert close_if_due() == 2
    assert len(payouts.of_provider(books.session, PROVIDER)) == 1


def test_a_provider_that_names_its_wallet_after_its_last_job_is_paid_too(books: Books) -> None:
    books.deposit(10_000_000)
    finished(books)
    close(books)
    wallets.set_wallet(books.session, PROVIDER, WALLET, books.now)
    epochs.close_if_due(books.session, books.now, books.config)
    assert payouts.of_provider(books.session, PROVIDER) == []
    books.wait(books.config.epoch_seconds)
    for _ in range(2):
        epochs.close_if_due(books.session, books.now, books.config)
    assert len(payouts.of_provider(books.session, PROVIDER)) == 1


def test_two_closes_at_once_stamp_each_line_once(database: Database, clock: ManualClock) -> None:
    with database.transaction() as session:
        books = Books(session, clock)
        books.deposit(10_000_000)
        for _ in range(3):
            finished(books)
    numbers: list[int | None] = []

    def work(closing: Callable[[Books], int | None]) -> None:
        with database.transaction() as session:
            numbers.append(closing(Books(session, clock)))

    threads = [Thread(target=work, args=(close,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    with database.read() as session:
        assert sorted(numbers, key=str) == [1, None, None]
        assert session.scalar(select(func.count()).select_from(EpochRow)) == 1
        assert session.scalar(select(func.count()).where(UsageLineRow.epoch == 1)) == 3
        Books(session, clock).check()
