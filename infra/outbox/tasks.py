"""The one generic Celery task that runs deliveries."""

from infra.bus.tasks import task
from infra.ground import ground
from infra.outbox.delivery import deliver

DELIVER = "outbox.deliver"


@task(DELIVER)
def deliver_messages(subscriber: str, message_ids: list[int]) -> None:
    """Hand these messages to the subscriber, in one transaction if all goes well."""
    base = ground()
    deliver(base.database, base.clock, subscriber, message_ids)
