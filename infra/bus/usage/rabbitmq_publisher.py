"""Publishing to RabbitMQ: a batch goes out at once, and the broker's confirms are awaited once for all of it."""

import itertools
from collections.abc import Sequence
from functools import partial
from threading import Event, Lock
from typing import Any

import pika

from infra.bus.usage.port import BusUnavailable, UsageMessage
from infra.bus.usage.rabbitmq_link import Link
from infra.bus.usage.rabbitmq_queues import UsageQueues

CONFIRM_SECONDS = 10.0
PERSISTENT = 2


class _Batch:
    """Messages on their way. failure: why not all of them were taken; known when `settled`."""

    def __init__(self, number: int) -> None:
        self.id = str(number)
        self.outstanding = 0
        self.failure: str | None = None
        self.settled = Event()

    def fail(self, why: str) -> None:
        self.failure = self.failure or why
        self.settled.set()

    def confirm(self) -> None:
        self.outstanding -= 1
        if self.outstanding == 0:
            self.settled.set()


class Publisher:
    """One link, opened when first needed and again after it has ended. Threads may share it."""

    def __init__(self, url: str, queues: UsageQueues) -> None:
        self._url, self._queues = url, queues
        self._numbers = itertools.count(1)
        self._opening = Lock()
        self._line: _Line | None = None

    def publish(self, messages: Sequence[UsageMessage]) -> None:
        """Returns once the broker has confirmed every message. Raises BusUnavailable."""
        if not messages:
            return
        batch = _Batch(next(self._numbers))
        line = self._open()
        line.link.call(partial(line.send, batch, messages))
        if not batch.settled.wait(CONFIRM_SECONDS):
            # Confirms that come later belong to nobody.
            line.link.close()
            raise BusUnavailable(f"the usage bus did not confirm within {CONFIRM_SECONDS:g} s")
        if batch.failure is not None:
            raise BusUnavailable(f"the usage bus did not take it: {batch.failure}", remedy="try again in a moment")

    def close(self) -> None:
        with self._opening:
            if self._line is not None:
                self._line.link.close()
                self._line = None

    def _open(self) -> "_Line":
        with self._opening:
            if self._line is None or self._line.link.ended:
                line = _Line(self._url, self._queues)
                line.link.open()
                self._line = line
            return self._line


class _Line:
    """One life of the publisher's channel: which confirm belongs to which batch. Runs in the link's thread."""

    def __init__(self, url: str, queues: UsageQueues) -> None:
        self._queues = queues
        self.link = Link(url, f"{queues.exchange} publisher", self._prepare, self._on_end)
        self._channel: Any = None
        self._batches: dict[str, _Batch] = {}
        self._of_tag: dict[int, _Batch] = {}
        self._sent = 0
        self._confirmed = 0

    def send(self, batch: _Batch, messages: Sequence[UsageMessage]) -> None:
        if not self._channel.is_open:
            batch.fail("the channel is closed")
            return
        batch.outstanding = len(messages)
        self._batches[batch.id] = batch
        for message in messages:
            self._sent += 1
            self._of_tag[self._sent] = batch
            # Mandatory: a message that no queue takes comes back instead of being dropped.
            self._channel.basic_publish(
                self._queues.exchange,
                self._queues.routing_key(message.node_id),
                message.body,
                _properties(message, batch),
                mandatory=True,
            )

    def _prepare(self, channel: Any, ready: Any) -> None:
        self._channel = channel
        channel.add_on_return_callback(self._on_return)
        self._queues.declare(channel)
        channel.confirm_delivery(self._on_confirm, callback=ready)

    def _on_confirm(self, frame: Any) -> None:
        """An ack or a nack of one message, or of all up to it."""
        method = frame.method
        refused = isinstance(method, pika.spec.Basic.Nack)
        first = self._confirmed + 1 if method.multiple else method.delivery_tag
        for tag in range(first, method.delivery_tag + 1):
            batch = self._of_tag.pop(tag, None)
            if batch is None:
                continue
            if refused:
                batch.fail("it is full")
            batch.confirm()
            if batch.outstanding == 0:
                del self._batches[batch.id]
        while self._confirmed < self._sent and self._confirmed + 1 not in self._of_tag:
            self._confirmed += 1

    def _on_return(self, _: Any, method: Any, properties: Any, __: bytes) -> None:
        """Its confirm follows; the batch has failed all the same."""
        batch = self._batches.get(properties.correlation_id)
        if batch is not None:
            batch.fail(f"no queue takes it ({method.reply_text})")

    def _on_end(self, why: str) -> None:
        for batch in list(self._batches.values()):
            batch.fail(why)


def _properties(message: UsageMessage, batch: _Batch) -> Any:
    return pika.BasicProperties(
        delivery_mode=PERSISTENT,
        correlation_id=batch.id,
        headers={"node": message.node_id, "at": message.received_at.isoformat()},
    )
