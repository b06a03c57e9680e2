"""Consuming from RabbitMQ: deliveries gather while a batch is handled, and a batch is acknowledged at once."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from infra.bus.usage.port import UsageMessage
from infra.bus.usage.rabbitmq_link import Link
from infra.bus.usage.rabbitmq_queues import UsageQueues

TAKE_SECONDS = 1.0


class Delivery(NamedTuple):
    """message: None if it is none of ours."""

    tag: int
    message: UsageMessage | None


class Subscription:
    """One life of the consumer's channel; what it has not acknowledged when it ends is delivered again."""

    def __init__(self, url: str, queues: UsageQueues, prefetch: int) -> None:
        self._queues, self._prefetch = queues, prefetch
        self._arrived: SimpleQueue[Delivery | None] = SimpleQueue()
        self._channel: Any = None
        self._link = Link(url, f"{queues.billing} consumer", self._prepare, self._on_end)

    def open(self) -> None:
        """Raises BusUnavailable."""
        self._link.open()

    def close(self) -> None:
        self._link.close()

    def take(self, count: int) -> list[Delivery]:
        """What has arrived, `count` at most; waits a second for the first. Raises BusUnavailable."""
        taken: list[Delivery] = []
        try:
            while len(taken) < count:
                delivery = self._arrived.get(timeout=0 if taken else TAKE_SECONDS)
                if delivery is None or self._link.ended:
                    raise self._link.unavailable()
                taken.append(delivery)
        except Empty:
            pass
        if self._link.ended:
            raise self._link.unavailable()
        return taken

    def settle(self, handled: Sequence[Delivery], refused: Sequence[Delivery]) -> None:
        """Acknowledge the one, park the other: everything that was taken is one of them. Raises BusUnavailable."""
        self._link.call(partial(self._settle, handled, refused))

    def _settle(self, handled: Sequence[Delivery], refused: Sequence[Delivery]) -> None:
        if not self._channel.is_open:
            return
        for delivery in refused:
            self._channel.basic_nack(delivery.tag, requeue=False)
        if handled:
            # Whatever came before and is not settled yet is among the handled.
            self._channel.basic_ack(max(delivery.tag for delivery in handled), multiple=True)

    def _prepare(self, channel: Any, ready: Any) -> None:
        self._channel = channel
        self._queues.declare(channel)
        channel.basic_qos(prefetch_count=self._prefetch)
        # The broker cancels when the queue is deleted.
        channel.add_on_cancel_callback(lambda _: channel.close())
        channel.basic_consume(self._queues.billing, self._on_message, callback=ready)

    def _on_message(self, _: Any, method: Any, properties: Any, body: bytes) -> None:
        self._arrived.put(Delivery(method.delivery_tag, _message(properties.headers, body)))

    def _on_end(self, _: str) -> None:
        self._arrived.put(None)


def _message(headers: Any, body: bytes) -> UsageMessage | None:
    try:
        return UsageMessage(str(headers["node"]), datetime.fromisoformat(headers["at"]), body)
    except (KeyError, ValueError, TypeError):
        return None
