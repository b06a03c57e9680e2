"""Monitoring's Celery tasks."""

import structlog

from infra.bus.tasks import task
from infra.ground import ground
from monitoring import reconciliation

log = structlog.get_logger(__name__)


@task("monitoring.reconcile", every=60)
def reconcile() -> None:
    """Compare the scheduler's rows with billing's, and say again what was not heard."""
    base = ground()
    with base.database.transaction() as session:
        found = reconciliation.reconcile(session, base.clock.now())
    for disagreement in found:
        log.error("rows_disagree", found=disagreement)
