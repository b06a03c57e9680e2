"""Orders: what a node needs to start an attempt it holds. The one place where customers' secrets are opened."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from infra.ground import Ground
from market.agent_api import AttemptOrder, Secret
from portal_api.identity import customer_secrets
from scheduler.files import workdirs
from scheduler.work import orders
from scheduler.work.orders import AttemptStart

UNASKED_LENGTH_MAX = 65_536
"""Characters of a command and its variables that come with a poll's answer."""


def order(session: Session, base: Ground, node_id: str, attempt_id: str, now: datetime) -> AttemptOrder:
    """Raises NotFound for an attempt that this node does not hold, Conflict when a secret is gone."""
    start = orders.start(session, node_id, attempt_id)
    opened = customer_secrets.opened(session, base.secrets, start.organization_id, start.spec.secrets)
    return _order(base, start, opened, now)


def without_secrets(
    session: Session, base: Ground, attempts_by_node: Mapping[str, Sequence[str]], now: datetime
) -> dict[str, AttemptOrder]:
    """By attempt, for a poll's answer. One with secrets, or a long one, is not among them: it waits to be asked for."""
    starts = orders.starts(session, attempts_by_node)
    plain = (start for start in starts if not start.spec.secrets and _length(start) <= UNASKED_LENGTH_MAX)
    return {start.attempt_id: _order(base, start, [], now) for start in plain}


def _length(start: AttemptStart) -> int:
    return len(start.spec.run) + sum(len(name) + len(value) for name, value in start.spec.env.items())


def _order(base: Ground, start: AttemptStart, secrets: list[Secret], now: datetime) -> AttemptOrder:
    sha256 = start.workdir_sha256
    workdir_url = (
        base.storage.download_url(workdirs.key(start.organization_id, sha256), now=now) if sha256 is not None else None
    )
    return AttemptOrder(
        attempt_id=start.attempt_id,
        job_id=start.job_id,
        attempt_number=start.attempt_number,
        run=start.spec.run,
        env=start.spec.env,
        secrets=secrets,
        workdir_url=workdir_url,
        workdir_sha256=sha256,
        outputs=[output.path for output in start.spec.outputs],
        run_for_seconds=start.run_for_seconds,
        stop_grace_seconds=base.settings.stop_grace_seconds,
        trace=start.trace,
    )
