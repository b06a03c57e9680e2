"""A set of deliveries with every kind of outcome in it: each message gets its own, as if it had come alone."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import permutations

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from infra.database import Database
from infra.outbox import publish, subscribe_many, subscriptions
from infra.outbox.delivery import ATTEMPTS_MAX, claim, deliver
from infra.outbox.tables import Delivery, OutboxMessage
from market.clock import ManualClock
from market.messages import EpochClosed, JobFunded

GOOD, LATER, POISON = 1, 2, 3
NAME = "test.in_sets"


@pytest.fixture(autouse=True)
def handler(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it does is a row: a JobFunded for each good message, one after the other, until the poison."""
    monkeypatch.setattr(subscriptions, "_subscriptions", {})

    @subscribe_many(EpochClosed, NAME)
    def handle(session: Session, messages: Sequence[EpochClosed], now: datetime) -> list[EpochClosed]:
        waiting = []
        for message in messages:
            if message.epoch % 10 == POISON:
                raise ValueError("poison")
            if message.epoch % 10 == LATER:
                waiting.append(message)
                continue
            publish(session, JobFunded(job_id=f"job_{message.epoch}", seconds=1))
            session.flush()
        return waiting


def published(database: Database, clock: ManualClock, epochs: Sequence[int]) -> dict[int, int]:
    """The messages' ids, by epoch."""
    with database.transaction() as session:
        for epoch in epochs:
            publish(session, EpochClosed(epoch=epoch))
    with database.transaction() as session:
        for delivery in session.scalars(select(Delivery)):
            delivery.due_at = clock.now()
        messages = session.scalars(select(OutboxMessage).where(OutboxMessage.kind == "EpochClosed")).all()
        for message in messages:
            message.created_at = clock.now()
        return {message.body["epoch"]: message.id for message in messages}


def done(database: Database) -> list[str]:
    with database.read() as session:
        messages = session.scalars(select(OutboxMessage).where(OutboxMessage.kind == "JobFunded"))
        return sorted(message.body["job_id"] for message in messages)


def due(database: Database, clock: ManualClock) -> list[int]:
    with database.transaction() as session:
        return [item.message_id for item in claim(session, clock.now())]


@pytest.mark.parametrize("order", list(permutations((GOOD, LATER, POISON, GOOD + 10))))
def test_each_of_a_mixed_set_gets_what_it_would_have_got_alone(
    database: Database, clock: ManualClock, order: tuple[int, ...]
) -> None:
    ids = published(database, clock, order)
    assert sorted(due(database, clock)) == sorted(ids.values())
    deliver(database, clock, NAME, list(ids.values()))
    assert done(database) == ["job_1", "job_11"], "what the broken set did was undone, and done once more, singly"
    with database.read() as session:
        rows = {epoch: session.get_one(Delivery, (ids[epoch], NAME)) for epoch in order}
    assert [rows[epoch].done_at is not None for epoch in sorted(order)] == [True, False, False, True]
    assert {epoch: row.error for epoch, row in rows.items() if row.error} == {POISON: "ValueError: poison"}
    assert {epoch: row.attempts for epoch, row in rows.items()} == {GOOD: 0, LATER: 1, POISON: 1, GOOD + 10: 0}
    clock.advance(timedelta(seconds=1))
    assert due(database, clock) == [ids[LATER]], "who was not ready comes again soon, the poison later"
    clock.advance(timedelta(seconds=10))
    assert ids[POISON] in due(database, clock)


def test_poison_is_parked_in_the_end_and_who_waits_in_its_set_is_not(database: Database, clock: ManualClock) -> None:
    ids = published(database, clock, (GOOD, POISON))
    for _ in range(ATTEMPTS_MAX):
        clock.advance(timedelta(minutes=6))
        deliver(database, clock, NAME, list(ids.values()))
    with database.read() as session:
        parked = {epoch: session.get_one(Delivery, (ids[epoch], NAME)).parked_at is not None for epoch in ids}
    assert parked == {GOOD: False, POISON: True}
    assert done(database) == ["job_1"]


def test_a_set_without_poison_is_one_transaction(database: Database, clock: ManualClock) -> None:
    ids = published(database, clock, (GOOD, LATER, GOOD + 10))
    deliver(database, clock, NAME, list(ids.values()))
    with database.read() as session:
        made = session.scalars(select(OutboxMessage.created_at).where(OutboxMessage.kind == "JobFunded")).all()
    assert len(set(made)) == 1, "both were written at the one moment of their transaction"
    assert done(database) == ["job_1", "job_11"]
