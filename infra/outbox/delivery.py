"""Delivering: claim what is due, run a handler in the transaction that marks it done, park what keeps failing.

Deliveries are handled in sets: a burst of messages costs a subscriber one transaction.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

import structlog
from sqlalchemy.orm import Session
from structlog.contextvars import bound_contextvars

from infra.database import Database
from infra.outbox.subscriptions import bind_message, handler
from infra.outbox.tables import Delivery
from infra.statements import Statement
from infra.telemetry import DELIVERIES
from market.clock import Clock
from market.failpoints import failpoint
from market.messages import message_type

log = structlog.get_logger(__name__)
CLAIM_MAX = 500
ATTEMPTS_MAX = 12
RESEND_FIRST_SECONDS, RESEND_LONGEST_SECONDS = 10, 60
"""When what was sent and is not done is sent again: after half its age, within these. A message that was lost with a
process or a broker is soon on its way, and workers that are merely behind are not flooded."""
RETRY_FIRST_SECONDS, RETRY_LONGEST_SECONDS = 10, 300
NOT_READY_SECONDS = 0.2
ERROR_MAX_CHARACTERS = 2000


# One statement: what is due and free is pushed back by the next patience with it, and named.
_CLAIM = Statement(
    """
    WITH waiting AS (
        SELECT message_id, subscriber FROM outbox_deliveries
        WHERE done_at IS NULL AND parked_at IS NULL AND due_at <= :now
        ORDER BY message_id, subscriber
        LIMIT :limit
        FOR UPDATE SKIP LOCKED
    )
    UPDATE outbox_deliveries AS delivery
    SET due_at = :now
        + least(greatest(extract(epoch FROM :now - message.created_at) / 2, :first), :longest) * interval '1 second'
    FROM waiting JOIN outbox_messages AS message ON message.id = waiting.message_id
    WHERE delivery.message_id = waiting.message_id AND delivery.subscriber = waiting.subscriber
    RETURNING delivery.message_id, delivery.subscriber
    """
)
# Locked in the order of the messages, so that two workers never wait for each other in a ring.
_LOCK = Statement(
    """
    SELECT message.id, message.kind, message.body
    FROM outbox_deliveries AS delivery JOIN outbox_messages AS message ON message.id = delivery.message_id
    WHERE delivery.subscriber = :subscriber AND delivery.message_id = ANY(cast(:ids AS bigint[]))
        AND delivery.done_at IS NULL AND delivery.parked_at IS NULL
    ORDER BY message.id
    FOR UPDATE OF delivery
    """
)
_DONE = Statement(
    "UPDATE outbox_deliveries SET done_at = :now, error = NULL "
    "WHERE subscriber = :subscriber AND message_id = ANY(cast(:ids AS bigint[]))"
)
# Soon again, and later each time; parked once its turn has failed to come too often.
_NOT_READY = Statement(
    """
    UPDATE outbox_deliveries SET
        attempts = attempts + 1,
        due_at = :now + :soon * power(2, attempts + 1) * interval '1 second',
        parked_at = CASE WHEN attempts + 1 >= :attempts_max THEN cast(:now AS timestamptz) END,
        error = CASE WHEN attempts + 1 >= :attempts_max THEN 'NotReady: what it waits for never came' END
    WHERE subscriber = :subscriber AND message_id = ANY(cast(:ids AS bigint[]))
    """
)


@dataclass(frozen=True, slots=True, order=True)
class Due:
    """One delivery to run: a subscriber's turn at a message."""

    message_id: int
    subscriber: str


def claim(session: Session, now: datetime, limit: int = CLAIM_MAX) -> list[Due]:
    """Deliveries that are due, oldest first; each is pushed back, so that it comes again if it is lost on the way."""
    values = {"now": now, "limit": limit, "first": RESEND_FIRST_SECONDS, "longest": RESEND_LONGEST_SECONDS}
    return sorted(Due(row.message_id, row.subscriber) for row in _CLAIM.rows(session, values))


def by_subscriber(due: Iterable[Due]) -> dict[str, list[int]]:
    """The message ids of each subscriber, oldest first."""
    found: dict[str, list[int]] = {}
    for item in sorted(due):
        found.setdefault(item.subscriber, []).append(item.message_id)
    return found


def deliver(database: Database, clock: Clock, subscriber: str, message_ids: Collection[int]) -> None:
    """Hand messages to a subscriber, all of them in one transaction. When that fails each gets its own, so that the
    failure of one is recorded and does not stop the others."""
    ids = sorted(set(message_ids))
    message_id = ids[0] if len(ids) == 1 else None
    # A single message's own trace and job are bound in their place once it is read.
    with bound_contextvars(message_id=message_id, subscriber=subscriber, trace=None, job_id=None):
        try:
            with database.transaction() as session:
                turns = _run(session, subscriber, ids, clock.now())
                failpoint("outbox.handled")
            failpoint("outbox.delivered")
        except Exception as error:
            if message_id is not None:
                log.exception("delivery_failed")
                _note_failure(database, Due(message_id, subscriber), clock.now(), f"{type(error).__name__}: {error}")
                DELIVERIES.labels(subscriber, "failed").inc()
                return
            log.info("delivery_retried_singly", messages=len(ids), error=type(error).__name__)
        else:
            DELIVERIES.labels(subscriber, "done").inc(turns.done)
            DELIVERIES.labels(subscriber, "not_ready").inc(turns.not_ready)
            return
    for each in ids:
        deliver(database, clock, subscriber, [each])


@dataclass(frozen=True, slots=True)
class _Turns:
    """How many messages were handled, and how many must come again."""

    done: int
    not_ready: int


def _run(session: Session, subscriber: str, ids: Sequence[int], now: datetime) -> _Turns:
    """Lock the deliveries, hand their messages over kind by kind, mark them done; what is done already stays so."""
    rows = _LOCK.rows(session, {"subscriber": subscriber, "ids": list(ids)})
    done = {row.id for row in rows}
    for kind, of_kind in groupby(sorted(rows, key=lambda row: row.kind), lambda row: row.kind):
        bodies = {row.id: message_type(kind).model_validate(row.body) for row in of_kind}
        if len(ids) == 1:
            bind_message(bodies[ids[0]])
        waiting = {id(body) for body in handler(kind, subscriber)(session, list(bodies.values()), now)}
        done -= {message_id for message_id, body in bodies.items() if id(body) in waiting}
    if done:
        _DONE.rows(session, {"now": now, "subscriber": subscriber, "ids": sorted(done)})
    later = sorted({row.id for row in rows} - done)
    if later:
        limits = {"soon": NOT_READY_SECONDS, "attempts_max": ATTEMPTS_MAX}
        _NOT_READY.rows(session, {"now": now, "subscriber": subscriber, "ids": later, **limits})
    return _Turns(len(done), len(later))


def _note_failure(database: Database, due: Due, now: datetime, error: str) -> None:
    """Write down why it was not done; it is parked when it failed too often."""
    with database.transaction() as session:
        delivery = session.get(Delivery, (due.message_id, due.subscriber), with_for_update=True)
        if delivery is None or delivery.done_at is not None:
            return
        patience = min(RETRY_FIRST_SECONDS * 2**delivery.attempts, RETRY_LONGEST_SECONDS)
        delivery.attempts += 1
        delivery.due_at = now + timedelta(seconds=patience)
        delivery.error = error[:ERROR_MAX_CHARACTERS]
        if delivery.attempts >= ATTEMPTS_MAX:
            delivery.parked_at = now
            log.error("delivery_parked", error=error)
