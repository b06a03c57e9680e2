"""The one generic Celery task that runs deliveries."""

from infra.bus.tasks import task
from infra.ground import ground
from infra.outbox.delivery import deliver
from infra.outbox.relay import due_of

DELIVER = "outbox.deliver"


@task(DELIVER)
def deliver_messages(subscriber: str, message_ids: list[int]) -> None:
    """Hand these messages to the subscriber, each in its own transaction."""
    base = ground()
    deliver(base.database, base.clock, due_of(subscriber, message_ids))
