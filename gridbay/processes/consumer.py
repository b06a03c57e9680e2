"""The usage consumer: signed reports from the usage bus into billing's rows."""

import structlog
from sqlalchemy.exc import SQLAlchemyError

from billing.metering import usage
from billing.metering.parcels import SignedReport
from gridbay.processes.interpreter import settle_interpreter
from gridbay.processes.signals import stop_event
from infra.bus.usage import BusUnavailable, HandleLater, UsageMessage
from infra.bus.usage.port import RETRY_SECONDS
from infra.database import is_away
from infra.ground import Ground, ground
from infra.logging import configure_logging
from infra.telemetry import MERGE_SIZE, READINGS, serve
from market.failpoints import failpoint

log = structlog.get_logger(__name__)


def main() -> None:
    """Merge until told to stop. A database or bus that is away is waited for; only what is durable is acknowledged."""
    base = ground()
    configure_logging("consumer", base.settings.log_level)
    settle_interpreter()
    serve(base.settings.metrics_bind)
    stop = stop_event()
    while not stop.is_set():
        try:
            base.usage_bus.consume(lambda batch: merge(base, batch), stop)
        except BusUnavailable as error:
            log.warning("consumer_interrupted", error=error.detail)
            stop.wait(RETRY_SECONDS)
    base.usage_bus.close()
    base.database.dispose()


def merge(base: Ground, batch: list[UsageMessage]) -> None:
    """One batch in one transaction. Raises HandleLater while the database is away."""
    reports = [SignedReport(message.node_id, message.received_at, message.body) for message in batch]
    try:
        with base.database.transaction() as session:
            merged = usage.merge(session, reports, base.clock.now())
            failpoint("consumer.merged")
        failpoint("consumer.committed")
    except SQLAlchemyError as error:
        if not is_away(error):
            raise
        raise HandleLater(str(error)[:500]) from error
    MERGE_SIZE.observe(len(reports))
    READINGS.labels("stored").inc(merged.stored)
    READINGS.labels("repeated").inc(merged.repeated)
    for cause, refused in merged.refused.items():
        READINGS.labels(cause).inc(refused)
