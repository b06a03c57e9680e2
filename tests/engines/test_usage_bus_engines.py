"""The usage bus on every engine: what was taken arrives, and is forgotten only once it was handled."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread

import pytest
from awaiting import until
from real_engines import new_prefix
from usage_buses import Market, reports

from infra.bus.usage import BusUnavailable, HandleLater, UsageBus, UsageMessage, connect_usage_bus, handling
from infra.bus.usage.rabbitmq import RabbitUsageBus
from infra.settings import Settings

Make = Callable[..., UsageBus]


@pytest.fixture(params=["valkey", "redis", "rabbitmq"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def market(url: str) -> Iterator[Market]:
    made = Market(url, new_prefix())
    yield made
    made.forget()


@pytest.fixture
def make(market: Market) -> Iterator[Make]:
    """Another process's bus of the same market."""
    made: list[UsageBus] = []

    def make(**options: object) -> UsageBus:
        made.append(market.bus(**options))
        return made[-1]

    yield make
    for bus in made:
        bus.close()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again later is tried again at once."""
    monkeypatch.setattr(handling, "RETRY_SECONDS", 0.01)


def take(bus: UsageBus, count: int, batch_max: int = 500) -> list[UsageMessage]:
    """So many messages, in the order they came; each is acknowledged."""
    taken: list[UsageMessage] = []
    stop = Event()

    def handle(batch: list[UsageMessage]) -> None:
        assert len(batch) <= batch_max
        taken.extend(batch)
        if len(taken) >= count:
            stop.set()

    bus.consume(handle, stop, batch_max)
    return taken


def bodies(messages: list[UsageMessage]) -> set[bytes]:
    return {message.body for message in messages}


def test_what_was_published_arrives_byte_for_byte_and_is_gone_then(make: Make) -> None:
    sender, bus = make(), make()
    sent = reports(1200)
    sender.publish(sent[:1])
    sender.publish(sent[1:])
    taken = take(bus, 1200, batch_max=100)
    assert sorted(taken, key=lambda m: m.body) == sorted(sent, key=lambda m: m.body)
    until(lambda: bus.waiting() == 0, "everything is acknowledged")
    assert bus.parked() == 0


def test_a_consumer_that_is_killed_while_it_handles_loses_nothing(make: Make, market: Market) -> None:
    bus = make()
    bus.publish(reports(20))
    command = [sys.executable, str(Path(__file__).with_name("holding_consumer.py")), market.url, market.prefix]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as consumer:
        assert consumer.stdout is not None
        assert int(consumer.stdout.readline()) > 0
        consumer.send_signal(signal.SIGKILL)
    assert bodies(take(bus, 20)) == bodies(reports(20))


def test_nothing_is_acknowledged_before_it_was_handled(make: Make) -> None:
    bus = make()
    bus.publish(reports(3))

    class Crash(BaseException):
        """What no handler may catch."""

    def crash(batch: list[UsageMessage]) -> None:
        raise Crash

    with pytest.raises(Crash):
        bus.consume(crash, Event())
    assert bodies(take(make(), 3)) == bodies(reports(3))


@pytest.mark.usefixtures("soon")
def test_a_handler_that_cannot_work_now_gets_the_same_again(make: Make) -> None:
    bus, stop = make(), Event()
    bus.publish(reports(5))
    seen: list[set[bytes]] = []

    def handle(batch: list[UsageMessage]) -> None:
        seen.append(bodies(batch))
        if len(seen) < 4:
            raise HandleLater("the database is away")
        stop.set()

    bus.consume(handle, stop)
    assert seen[0] == seen[1] == seen[2] == seen[3]
    assert bus.parked() == 0


@pytest.mark.usefixtures("soon")
def test_a_handler_that_is_asked_to_stop_while_it_waits_leaves_its_batch(make: Make) -> None:
    bus, stop = make(), Event()
    bus.publish(reports(5))

    def handle(batch: list[UsageMessage]) -> None:
        stop.set()
        raise HandleLater("the database is away")

    bus.consume(handle, stop)
    assert bodies(take(make(), 5)) == bodies(reports(5))


def test_a_message_that_nobody_can_handle_is_parked_alone_and_does_not_come_again(make: Make) -> None:
    bus, stop = make(), Event()
    bus.publish(reports(10))
    handled: list[UsageMessage] = []

    def handle(batch: list[UsageMessage]) -> None:
        if b"report 4" in bodies(batch):
            raise ZeroDivisionError
        handled.extend(batch)
        if len(handled) == 9:
            stop.set()

    bus.consume(handle, stop)
    assert bodies(handled) == bodies(reports(10)) - {b"report 4"}
    until(lambda: (bus.parked(), bus.waiting()) == (1, 0), "it is parked, and the rest is gone")
    bus.publish(reports(1, first=99))
    assert bodies(take(make(), 1)) == {b"report 99"}


def test_what_is_none_of_ours_is_parked(make: Make, market: Market) -> None:
    bus = make()
    bus.publish(reports(1))
    market.put_garbage()
    bus.publish(reports(1, first=1))
    assert bodies(take(bus, 2)) == {b"report 0", b"report 1"}
    until(lambda: (bus.parked(), bus.waiting()) == (1, 0), "it is parked")


def test_a_bus_that_is_full_refuses_and_keeps_what_it_has(make: Make) -> None:
    bus = make(length_max=10)
    taken = 0
    with pytest.raises(BusUnavailable, match="full"):
        for _ in range(10):
            bus.publish(reports(5, first=taken))
            taken += 5
    assert taken >= 10, "what fits was taken"
    assert bodies(reports(taken)) <= bodies(take(make(length_max=10), taken))
    until(lambda: bus.waiting() == 0, "there is room again")
    bus.publish(reports(1))


def test_stop_is_heard_while_nothing_comes(make: Make) -> None:
    bus, stop = make(), Event()
    consuming = Thread(target=bus.consume, args=(lambda batch: None, stop))
    consuming.start()
    stop.set()
    consuming.join(10)
    assert not consuming.is_alive()


def test_markets_on_one_server_do_not_see_each_other(make: Make, market: Market) -> None:
    neighbour = Market(market.url, new_prefix())
    other = neighbour.bus()
    try:
        make().publish(reports(2))
        other.publish(reports(1, first=7))
        assert bodies(take(other, 1)) == {b"report 7"}
        assert bodies(take(make(), 2)) == bodies(reports(2))
    finally:
        other.close()
        neighbour.forget()


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_an_engine_that_is_away_is_unavailable_and_its_password_is_not_told(scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"{scheme}://me:s3cret@127.0.0.1:{closed.getsockname()[1]}/0"
    bus = connect_usage_bus(Settings(usage_bus_url=url))  # type: ignore[arg-type]
    for call in (
        lambda: bus.publish(reports(1)),
        lambda: bus.consume(lambda batch: None, Event()),
        bus.waiting,
        bus.parked,
    ):
        with pytest.raises(BusUnavailable) as raised:
            call()
        assert "s3cret" not in str(raised.value)
    bus.close()


def test_only_known_schemes_are_served() -> None:
    with pytest.raises(ValueError, match="kafka: is not served"):
        connect_usage_bus(Settings(usage_bus_url="kafka://127.0.0.1"))  # type: ignore[arg-type]


def test_on_rabbitmq_a_message_that_no_queue_takes_is_refused(rabbitmq_url: str) -> None:
    market = Market(rabbitmq_url, new_prefix())
    bus = RabbitUsageBus(rabbitmq_url, market.prefix)
    bus.publish(reports(1))
    with market.channel() as channel:
        channel.queue_delete(market.queues.billing)
    with pytest.raises(BusUnavailable, match="no queue takes it"):
        bus.publish(reports(1))
    bus.close()
    market.forget()


def test_on_rabbitmq_others_may_listen_in_by_topic(rabbitmq_url: str) -> None:
    market = Market(rabbitmq_url, new_prefix())
    bus = RabbitUsageBus(rabbitmq_url, market.prefix)
    bus.publish(reports(1))
    with market.channel() as channel:
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, market.queues.exchange, routing_key=f"{market.queues.exchange}.node_1")
        bus.publish(reports(3))
        assert channel.basic_get(queue, auto_ack=True)[2] == b"report 1"
        assert channel.basic_get(queue, auto_ack=True)[2] is None
    bus.close()
    market.forget()
