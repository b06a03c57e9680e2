"""Orders: what a node needs to start an attempt it holds. The one place where customers' secrets are opened."""

from datetime import datetime

from sqlalchemy.orm import Session

from infra.ground import Ground
from market.agent_api import AttemptOrder
from portal_api.identity import customer_secrets
from scheduler.files import workdirs
from scheduler.work import orders


def order(session: Session, base: Ground, node_id: str, attempt_id: str, now: datetime) -> AttemptOrder:
    """Raises NotFound for an attempt that this node does not hold, Conflict when a secret is gone."""
    start = orders.order(session, node_id, attempt_id)
    sha256 = start.workdir_sha256
    workdir_url = (
        base.storage.download_url(workdirs.key(start.organization_id, sha256), now=now) if sha256 is not None else None
    )
    return AttemptOrder(
        attempt_id=attempt_id,
        job_id=start.job_id,
        attempt_number=start.attempt_number,
        run=start.spec.run,
        env=start.spec.env,
        secrets=customer_secrets.opened(session, base.secrets, start.organization_id, start.spec.secrets),
        workdir_url=workdir_url,
        workdir_sha256=sha256,
        outputs=[output.path for output in start.spec.outputs],
        run_for_seconds=start.run_for_seconds,
        stop_grace_seconds=base.settings.stop_grace_seconds,
        trace=start.trace,
    )
