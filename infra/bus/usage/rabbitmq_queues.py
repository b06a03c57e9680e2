"""The exchange and the queues of the usage bus on RabbitMQ, declared by whoever comes first.

A topic exchange `gridbay.usage`, to which others may bind queues of their own; the quorum queue that billing reads;
and the quorum queue where what nobody can handle is kept aside.
"""

from dataclasses import dataclass
from typing import Any

from infra.bus.usage.port import DELIVERIES_MAX

PARKED_MAX = 10_000


@dataclass(frozen=True, slots=True)
class UsageQueues:
    """prefix: of every name; length_max: beyond it the broker refuses to take more."""

    prefix: str
    length_max: int

    @property
    def exchange(self) -> str:
        return f"{self.prefix}.usage"

    @property
    def billing(self) -> str:
        return f"{self.prefix}.usage.billing"

    @property
    def parked(self) -> str:
        return f"{self.prefix}.usage.parked"

    def declare(self, channel: Any) -> None:
        """Make what is not there yet. channel: any of pika's; on an asynchronous one nobody waits for the answers."""
        channel.exchange_declare(self.exchange, exchange_type="topic", durable=True)
        channel.queue_declare(
            self.parked, durable=True, arguments={"x-queue-type": "quorum", "x-max-length": PARKED_MAX}
        )
        channel.queue_declare(self.billing, durable=True, arguments=self._arguments())
        channel.queue_bind(self.billing, self.exchange, routing_key=f"{self.exchange}.#")

    def routing_key(self, node_id: str) -> str:
        return f"{self.exchange}.{node_id}"

    def delete(self, channel: Any) -> None:
        """Remove all of it, with what is in it."""
        for queue in (self.billing, self.parked):
            channel.queue_delete(queue)
        channel.exchange_delete(self.exchange)

    def _arguments(self) -> dict[str, Any]:
        return {
            "x-queue-type": "quorum",
            "x-max-length": self.length_max,
            # What does not fit is refused, so that its publisher hears of it; dropping the oldest would lose it.
            "x-overflow": "reject-publish",
            # A message whose consumers die of it is parked in the end.
            "x-delivery-limit": DELIVERIES_MAX,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": self.parked,
            "x-dead-letter-strategy": "at-least-once",
        }
