"""The outbox relay: due deliveries and wake-ups from the database to the broker. It needs only the ground."""

import redis

from gridbay.processes.interpreter import settle_interpreter
from gridbay.processes.signals import stop_event
from infra.bus.tasks import send
from infra.ground import Ground, ground
from infra.logging import configure_logging
from infra.outbox.relay import Relay, SendWake
from infra.outbox.tasks import DELIVER
from infra.telemetry import serve

MERGE_MS = 1_000


def main() -> None:
    """Relay until told to stop."""
    base = ground()
    configure_logging("relay", base.settings.log_level)
    settle_interpreter()
    serve(base.settings.metrics_bind)
    relay = Relay(base.database, base.clock, send_due=_send_due, send_wake=_merged(base))
    relay.run(stop_event())
    base.database.dispose()


def _send_due(subscriber: str, message_ids: list[int]) -> None:
    send(DELIVER, subscriber, message_ids)


def _merged(base: Ground) -> SendWake:
    """A wake-up is sent only if none of its kind is on its way; the task clears the mark before it reads the truth."""

    def send_wake(task: str) -> None:
        try:
            first = base.cache.set(base.settings.key("wake", task), 1, nx=True, px=MERGE_MS)
        except redis.RedisError:
            first = True
        if first:
            send(task)

    return send_wake
