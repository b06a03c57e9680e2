"""Reconciling scheduler and billing: what one has written and the other has not heard of is said again.

Every message is a row with its deliveries, so this finds something only after a bug, a restored backup or a hand in the
rows. Saying it again is always safe: each handler judges by its own rows and may run twice.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from infra.outbox import publish
from market.messages import AttemptEnded, AttemptPlaced, JobEnded, Message

FOUND_MAX = 100
PATIENCE = timedelta(minutes=2)
"""How long a message may be on its way before its effect is missed."""
OVERDUE = timedelta(minutes=10)
"""Longer than the longest pause between two sendings of a delivery."""

# What is still to be delivered, or was parked for a person to read, is not said again.
_UNDONE = """
    NOT EXISTS (SELECT 1 FROM outbox_messages m JOIN outbox_deliveries d ON d.message_id = m.id
        WHERE m.body ->> 'job_id' = {job} AND d.done_at IS NULL)"""

_NOT_BOUND = f"""
    SELECT l.*, l.id AS lease_id, a.number AS attempt_number, a.provider_id, j.organization_id, j.trace
    FROM leases l JOIN attempts a ON a.id = l.attempt_id JOIN jobs j ON j.id = l.job_id
    WHERE l.granted_at < :before AND NOT EXISTS (SELECT 1 FROM metered_leases b WHERE b.lease_id = l.id)
      AND {_UNDONE.format(job="l.job_id")} ORDER BY l.granted_at LIMIT :found_max"""  # noqa: S608 (constants)
_NOT_ENDED = f"""
    SELECT a.job_id, a.id AS attempt_id, l.id AS lease_id, a.ended_at, a.reason, j.trace
    FROM metered_leases b JOIN leases l ON l.id = b.lease_id JOIN attempts a ON a.id = l.attempt_id
    JOIN jobs j ON j.id = a.job_id
    WHERE b.ended_at IS NULL AND a.ended_at < :before
      AND {_UNDONE.format(job="a.job_id")} ORDER BY a.ended_at LIMIT :found_max"""  # noqa: S608 (constants)
_NOT_OVER = f"""
    SELECT j.id AS job_id, j.organization_id, j.state, j.reason, j.attempts_placed, j.trace
    FROM job_terms t JOIN jobs j ON j.id = t.job_id
    WHERE t.ended_at IS NULL AND j.ended_at < :before
      AND {_UNDONE.format(job="j.id")} ORDER BY j.ended_at LIMIT :found_max"""  # noqa: S608 (constants)

_SAID_ONLY = """
    SELECT 'money is held for ' || t.job_id || ', which is no job' FROM job_terms t
    WHERE t.created_at < :before AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.id = t.job_id)
    UNION ALL SELECT j.id || ' is a job that billing knows nothing of' FROM jobs j
    WHERE j.created_at < :before AND NOT EXISTS (SELECT 1 FROM job_terms t WHERE t.job_id = j.id)
    UNION ALL SELECT b.lease_id || ' has ended for billing, and its attempt lives' FROM metered_leases b
    JOIN attempts a ON a.id = b.attempt_id WHERE b.ended_at IS NOT NULL AND a.ended_at IS NULL
    UNION ALL SELECT w.id || ' of the ended ' || b.lease_id || ' is not settled' FROM windows w
    JOIN metered_leases b USING (lease_id) WHERE w.settled_at IS NULL AND b.ended_noticed_at < :overdue
    UNION ALL SELECT 'message ' || d.message_id || ' for ' || d.subscriber || ' was parked: ' || coalesce(d.error, '')
    FROM outbox_deliveries d WHERE d.parked_at IS NOT NULL AND d.done_at IS NULL
    UNION ALL SELECT 'message ' || d.message_id || ' for ' || d.subscriber || ' is overdue: is the relay running?'
    FROM outbox_deliveries d WHERE d.done_at IS NULL AND d.parked_at IS NULL AND d.due_at < :overdue
    LIMIT :found_max"""


def reconcile(session: Session, now: datetime) -> list[str]:
    """Say again what was not heard; returns what was found, in words."""
    times = {"before": now - PATIENCE, "overdue": now - OVERDUE, "found_max": FOUND_MAX}
    found = [*_unbound(session, times), *_unended(session, times), *_unover(session, times)]
    return found + list(session.scalars(text(_SAID_ONLY), times))


def _unbound(session: Session, times: dict[str, Any]) -> Iterator[str]:
    for row in _rows(session, _NOT_BOUND, times):
        publish(session, _message(AttemptPlaced, row))
        yield f"billing does not know {row['lease_id']}: said again"


def _unended(session: Session, times: dict[str, Any]) -> Iterator[str]:
    for row in _rows(session, _NOT_ENDED, times):
        publish(session, _message(AttemptEnded, row))
        yield f"billing does not know that {row['lease_id']} ended: said again"


def _unover(session: Session, times: dict[str, Any]) -> Iterator[str]:
    for row in _rows(session, _NOT_OVER, times):
        publish(session, _message(JobEnded, row))
        yield f"billing does not know that {row['job_id']} ended: said again"


def _message(kind: type[Message], row: dict[str, Any]) -> Message:
    """A message from the columns that have its fields' names."""
    return kind.model_validate({name: row[name] for name in kind.model_fields if name in row})


def _rows(session: Session, query: str, times: dict[str, Any]) -> Sequence[dict[str, Any]]:
    return [dict(row) for row in session.execute(text(query), times).mappings()]
