"""The outbox: a message exists exactly if its transaction committed, and each subscriber handles it once."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from queue import Empty, Queue
from threading import Event, Thread

import psycopg
import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from infra.database import Database
from infra.outbox import NotReady, publish, subscribe, subscribe_many, subscriptions, wake
from infra.outbox.delivery import ATTEMPTS_MAX, claim, deliver
from infra.outbox.publishing import OUTBOX_CHANNEL, WAKE_CHANNEL
from infra.outbox.relay import Relay
from infra.outbox.tables import Delivery, OutboxMessage
from market.clock import ManualClock
from market.messages import EpochClosed, WalletChanged


class Heard:
    """What a subscriber heard, and how often it is still to fail."""

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.fail: Exception | None = None


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    monkeypatch.setattr(subscriptions, "_subscriptions", {})
    result = Heard()

    @subscribe(EpochClosed, "test.listen")
    def listen(session: Session, message: EpochClosed, now: datetime) -> None:
        if result.fail is not None:
            raise result.fail
        result.epochs.append(message.epoch)

    yield result


def claimed(database: Database, clock: ManualClock) -> list[tuple[int, str]]:
    with database.transaction() as session:
        return [(due.message_id, due.subscriber) for due in claim(session, clock.now())]


def published(database: Database, clock: ManualClock, epoch: int) -> int:
    with database.transaction() as session:
        publish(session, EpochClosed(epoch=epoch))
    # Rows take the server's clock; the tests' clock stands where it was told to.
    with database.transaction() as session:
        for delivery in session.scalars(select(Delivery)):
            delivery.due_at = clock.now()
        message = session.scalars(select(OutboxMessage).order_by(OutboxMessage.id.desc()).limit(1)).one()
        message.created_at = clock.now()
        return message.id


def test_a_rolled_back_transaction_says_nothing(database: Database, heard: Heard, clock: ManualClock) -> None:
    with pytest.raises(RuntimeError), database.transaction() as session:
        publish(session, EpochClosed(epoch=1))
        raise RuntimeError
    assert claimed(database, clock) == []


def test_a_subscriber_with_patience_is_served_later_and_without_a_notification(
    database: Database, heard: Heard, clock: ManualClock
) -> None:
    @subscribe_many(WalletChanged, "test.patient", patience_seconds=60)
    def handle(session: Session, messages: Sequence[WalletChanged], now: datetime) -> list[WalletChanged]:
        return []

    with psycopg.connect(_url(database), autocommit=True) as listener:
        listener.execute(f"LISTEN {OUTBOX_CHANNEL}")
        with database.transaction() as session:
            publish(session, WalletChanged(provider_id="prv_1", wallet_address="w", changed_at=clock.now()))
        with database.read() as session:
            now = session.scalar(select(func.now()))
        with database.transaction() as session:
            assert claim(session, now + timedelta(seconds=50)) == []
            assert [due.subscriber for due in claim(session, now + timedelta(seconds=70))] == ["test.patient"]
        listener.execute("SELECT pg_notify(%s, 'mark')", [OUTBOX_CHANNEL])
        told = next(iter(listener.notifies(timeout=5, stop_after=1)))
    assert told.payload == "mark", "nobody was told of the message before"


def test_a_task_is_asked_for_only_where_its_condition_holds(database: Database) -> None:
    with psycopg.connect(_url(database), autocommit=True) as listener:
        listener.execute(f"LISTEN {WAKE_CHANNEL}")
        with database.transaction() as session:
            wake(session, "nobody.waits", where="EXISTS (SELECT FROM outbox_messages)")
            wake(session, "somebody.waits", where="NOT EXISTS (SELECT FROM outbox_messages)")
        listener.execute("SELECT pg_notify(%s, 'mark')", [WAKE_CHANNEL])
        assert [told.payload for told in listener.notifies(timeout=5, stop_after=2)] == ["somebody.waits", "mark"]


def _url(database: Database) -> str:
    return database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)


def test_a_message_delivered_twice_is_handled_once(database: Database, heard: Heard, clock: ManualClock) -> None:
    message_id = published(database, clock, 7)
    deliver(database, clock, "test.listen", [message_id, message_id])
    deliver(database, clock, "test.listen", [message_id])
    assert heard.epochs == [7]


def test_what_was_claimed_and_lost_comes_again(database: Database, heard: Heard, clock: ManualClock) -> None:
    message_id = published(database, clock, 1)
    assert claimed(database, clock) == [(message_id, "test.listen")]
    assert claimed(database, clock) == []
    clock.advance(timedelta(seconds=11))
    assert claimed(database, clock) == [(message_id, "test.listen")]


def test_what_is_lost_again_and_again_is_never_taken_for_poison_and_never_far_away(
    database: Database, heard: Heard, clock: ManualClock
) -> None:
    message_id = published(database, clock, 4)
    for _ in range(5 * ATTEMPTS_MAX):
        clock.advance(timedelta(seconds=61))
        assert claimed(database, clock) == [(message_id, "test.listen")], "a minute after the fault it is on its way"
    for trouble in (NotReady("the lease is not known yet"), ValueError("once")):
        heard.fail = trouble
        deliver(database, clock, "test.listen", [message_id])
        clock.advance(timedelta(seconds=61))
        assert claimed(database, clock) == [(message_id, "test.listen")]
    heard.fail = None
    deliver(database, clock, "test.listen", [message_id])
    assert heard.epochs == [4]


def test_a_handler_that_is_not_ready_is_asked_again_soon(database: Database, heard: Heard, clock: ManualClock) -> None:
    message_id = published(database, clock, 3)
    claimed(database, clock)
    heard.fail = NotReady("the lease is not known yet")
    deliver(database, clock, "test.listen", [message_id])
    heard.fail = None
    clock.advance(timedelta(seconds=1))
    assert claimed(database, clock) == [(message_id, "test.listen")]
    deliver(database, clock, "test.listen", [message_id])
    assert heard.epochs == [3]


def test_a_poisonous_message_is_parked_with_its_reason(database: Database, heard: Heard, clock: ManualClock) -> None:
    message_id = published(database, clock, 9)
    heard.fail = ValueError("poison")
    for _ in range(ATTEMPTS_MAX):
        clock.advance(timedelta(minutes=6))
        assert claimed(database, clock) == [(message_id, "test.listen")]
        deliver(database, clock, "test.listen", [message_id])
    clock.advance(timedelta(days=1))
    assert claimed(database, clock) == []
    with database.read() as session:
        delivery = session.get_one(Delivery, (message_id, "test.listen"))
        assert delivery.parked_at is not None
        assert delivery.error == "ValueError: poison"


def test_the_relay_sends_at_the_commit_and_merges_nothing_itself(database: Database, heard: Heard) -> None:
    sent: list[tuple[str, list[int]]] = []
    woken: list[str] = []
    arrived, stop = Event(), Event()

    def send_wake(task: str) -> None:
        woken.append(task)
        if sent:
            arrived.set()

    class Now:
        def now(self) -> datetime:
            from datetime import UTC

            return datetime.now(UTC) + timedelta(seconds=1)

    relay = Relay(database, Now(), send_due=lambda name, ids: sent.append((name, ids)), send_wake=send_wake)
    thread = Thread(target=relay.run, args=(stop,))
    thread.start()
    try:
        with database.transaction() as session:
            publish(session, EpochClosed(epoch=1))
        for _ in range(50):
            with database.transaction() as session:
                wake(session, "scheduler.place")
            if arrived.wait(0.2):
                break
    finally:
        stop.set()
        thread.join(5)
    assert not thread.is_alive()
    assert [name for name, _ in sent] == ["test.listen"]
    assert set(woken) == {"scheduler.place"}


def test_a_wake_up_alone_brings_no_sweep(
    database: Database, heard: Heard, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has patience would otherwise go out in ones, beside the very work that was asked for."""

    @subscribe_many(WalletChanged, "test.patient", patience_seconds=60)
    def handle(session: Session, messages: Sequence[WalletChanged], now: datetime) -> list[WalletChanged]:
        return []

    monkeypatch.setattr("infra.outbox.relay.SWEEP_SECONDS", 600.0)
    sent: Queue[str] = Queue()
    clock.advance(datetime.now(UTC) + timedelta(hours=1) - clock.now())
    relay = Relay(database, clock, send_due=lambda name, _: sent.put(name), send_wake=sent.put)
    stop = Event()
    thread = Thread(target=relay.run, args=(stop,))
    thread.start()
    try:
        _until(sent, database, "first")
        # In the turn after the first one's nothing is left of the sweep that begins every relay.
        _until(sent, database, "second")
        with database.transaction() as session:
            publish(session, WalletChanged(provider_id="prv_1", wallet_address=None, changed_at=clock.now()))
            wake(session, "third")
        assert "test.patient" not in _until(sent, database, "fourth")
        with database.transaction() as session:
            publish(session, EpochClosed(epoch=1))
        found = _until(sent, database, "fifth") | _until(sent, database, "sixth")
        assert found >= {"test.listen", "test.patient"}
    finally:
        stop.set()
        with database.transaction() as session:
            wake(session, "last")
        thread.join(20)
    assert not thread.is_alive()


def _until(sent: "Queue[str]", database: Database, task: str) -> set[str]:
    """Ask for that task until the relay, which may have yet to listen, sends it; what it sent before."""
    found: set[str] = set()
    for _ in range(100):
        with database.transaction() as session:
            wake(session, task)
        with suppress(Empty):
            while task not in found:
                found.add(sent.get(timeout=0.2))
            return found - {task}
    raise AssertionError(f"{task} was not sent")
