"""The usage consumer: signed reports from the usage bus into billing's rows."""

import redis
import structlog
from sqlalchemy.exc import SQLAlchemyError

from billing import usage
from gridbay.processes.signals import stop_event
from infra.bus.usage import UsageMessage
from infra.ground import Ground, ground
from infra.logging import configure_logging

RETRY_SECONDS = 1.0
log = structlog.get_logger(__name__)


def main() -> None:
    """Merge until told to stop. A database or bus that is away is waited for; only what is durable is acknowledged."""
    base = ground()
    configure_logging("consumer", base.settings.log_level)
    stop = stop_event()
    while not stop.is_set():
        try:
            base.usage_bus.consume(lambda batch: merge(base, batch), stop)
        except (redis.RedisError, SQLAlchemyError) as error:
            log.warning("consumer_interrupted", error=str(error))
            stop.wait(RETRY_SECONDS)
    base.database.dispose()


def merge(base: Ground, batch: list[UsageMessage]) -> None:
    """One batch in one transaction."""
    reports = [usage.SignedReport(message.node_id, message.received_at, message.body) for message in batch]
    with base.database.transaction() as session:
        usage.merge(session, reports, base.clock.now())
