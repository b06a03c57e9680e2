"""The usage bus on RabbitMQ, through pika: quorum queues, persistent messages, confirms in batches."""

from collections.abc import Callable, Sequence
from contextlib import closing
from threading import Event
from typing import Any

import pika
from pika.exceptions import AMQPError

from infra.bus.usage.handling import hand_over
from infra.bus.usage.port import BATCH_MAX, GATHER_SECONDS, LENGTH_MAX, BusUnavailable, Handle, UsageMessage
from infra.bus.usage.rabbitmq_link import parameters_of, words
from infra.bus.usage.rabbitmq_publisher import Publisher
from infra.bus.usage.rabbitmq_queues import UsageQueues
from infra.bus.usage.rabbitmq_subscription import Delivery, Subscription


class RabbitUsageBus:
    """A queue that is full, and an exchange without its queue, refuse."""

    def __init__(self, url: str, prefix: str, *, length_max: int = LENGTH_MAX) -> None:
        self._url = url
        self.queues = UsageQueues(prefix, length_max)
        self._publisher = Publisher(url, self.queues)

    def publish(self, messages: Sequence[UsageMessage]) -> None:
        self._publisher.publish(messages)

    def consume(self, handle: Handle, stop: Event, batch_max: int = BATCH_MAX) -> None:
        # The next batch arrives while one is handled.
        subscription = Subscription(self._url, self.queues, prefetch=2 * batch_max)
        with closing(subscription):
            subscription.open()
            while not stop.is_set():
                taken = subscription.take(batch_max)
                if taken:
                    _deal_with(subscription, taken, handle, stop)
                    if len(taken) < batch_max:
                        stop.wait(GATHER_SECONDS)

    def waiting(self) -> int:
        return self._ask(lambda channel: _length(channel, self.queues.billing))

    def parked(self) -> int:
        return self._ask(lambda channel: _length(channel, self.queues.parked))

    def close(self) -> None:
        self._publisher.close()

    def _ask(self, question: Callable[[Any], int]) -> int:
        """A question on a connection of its own: it is asked a few times a minute."""
        try:
            with closing(pika.BlockingConnection(parameters_of(self._url, self.queues.exchange))) as connection:
                channel = connection.channel()
                self.queues.declare(channel)
                return question(channel)
        except (AMQPError, OSError) as error:
            raise BusUnavailable(f"the usage bus does not answer: {words(error)}") from error


def _deal_with(subscription: Subscription, taken: Sequence[Delivery], handle: Handle, stop: Event) -> None:
    known = [delivery for delivery in taken if delivery.message is not None]
    refused = hand_over(handle, [delivery.message for delivery in known if delivery.message is not None], stop)
    if refused is None:
        return
    gone = {delivery.tag for delivery in taken if delivery.message is None} | {known[index].tag for index in refused}
    subscription.settle(
        [delivery for delivery in taken if delivery.tag not in gone],
        [delivery for delivery in taken if delivery.tag in gone],
    )


def _length(channel: Any, queue: str) -> int:
    return int(channel.queue_declare(queue, passive=True).method.message_count)
