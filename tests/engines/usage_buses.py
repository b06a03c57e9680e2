"""Usage buses on every engine, and what a test does to them from outside the port."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pika
import redis
from real_engines import forget_keys

from infra.bus.usage import UsageBus, UsageMessage
from infra.bus.usage.rabbitmq import RabbitUsageBus
from infra.bus.usage.rabbitmq_queues import UsageQueues
from infra.bus.usage.valkey import ValkeyUsageBus

RECLAIM_AFTER_MS = 100
RECEIVED_AT = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=UTC)


class Market:
    """The usage bus of one market: every `bus()` is another process's."""

    def __init__(self, url: str, prefix: str) -> None:
        self.url, self.prefix = url, prefix

    @property
    def on_rabbitmq(self) -> bool:
        return self.url.startswith("amqp")

    def bus(self, **options: Any) -> UsageBus:
        if self.on_rabbitmq:
            return RabbitUsageBus(self.url, self.prefix, **options)
        return ValkeyUsageBus(self.url, self.prefix, reclaim_after_ms=RECLAIM_AFTER_MS, **options)

    def put_garbage(self) -> None:
        """Something that no portal of ours has sent."""
        if self.on_rabbitmq:
            with self.channel() as channel:
                channel.basic_publish(self.queues.exchange, self.queues.routing_key("x"), b"?")
        else:
            with redis.Redis.from_url(self.url) as client:
                client.xadd(f"{self.prefix}:usage", {"what": "?"})

    @property
    def queues(self) -> UsageQueues:
        return UsageQueues(self.prefix, 1)

    @contextmanager
    def channel(self) -> Iterator[Any]:
        connection = pika.BlockingConnection(pika.URLParameters(self.url))
        yield connection.channel()
        connection.close()

    def forget(self) -> None:
        """Remove everything of this market."""
        if self.on_rabbitmq:
            with self.channel() as channel:
                self.queues.delete(channel)
        else:
            forget_keys(self.url, self.prefix)


def reports(count: int, first: int = 0) -> list[UsageMessage]:
    return [UsageMessage(f"node_{n % 3}", RECEIVED_AT, f"report {n}".encode()) for n in range(first, first + count)]
