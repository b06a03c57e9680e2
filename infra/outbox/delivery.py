"""Delivering: claim what is due, run a handler in the transaction that marks it done, park what keeps failing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import select, tuple_, update
from sqlalchemy.orm import Session
from structlog.contextvars import bind_contextvars, bound_contextvars

from infra.database import Database
from infra.outbox.subscriptions import NotReady, handler
from infra.outbox.tables import Delivery, OutboxMessage
from infra.telemetry import DELIVERIES
from market.clock import Clock
from market.failpoints import failpoint
from market.messages import message_type

log = structlog.get_logger(__name__)
CLAIM_MAX = 500
ATTEMPTS_MAX = 12
RESEND_FIRST_SECONDS, RESEND_LONGEST_SECONDS = 10, 300
NOT_READY_SECONDS = 0.2
ERROR_MAX_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class Due:
    """One delivery to run: a subscriber's turn at a message."""

    message_id: int
    subscriber: str


def claim(session: Session, now: datetime, limit: int = CLAIM_MAX) -> list[Due]:
    """Deliveries that are due, oldest first; each is pushed back, so that it comes again if it is lost on the way."""
    waiting = (
        select(Delivery.message_id, Delivery.subscriber, Delivery.attempts)
        .where(Delivery.done_at.is_(None), Delivery.parked_at.is_(None), Delivery.due_at <= now)
        .order_by(Delivery.message_id, Delivery.subscriber)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    rows = session.execute(waiting).all()
    for attempts in sorted({row.attempts for row in rows}):
        keys = [(row.message_id, row.subscriber) for row in rows if row.attempts == attempts]
        again = now + timedelta(seconds=min(RESEND_FIRST_SECONDS * 2**attempts, RESEND_LONGEST_SECONDS))
        session.execute(
            update(Delivery)
            .where(tuple_(Delivery.message_id, Delivery.subscriber).in_(keys))
            .values(due_at=again, attempts=attempts + 1)
        )
    return [Due(row.message_id, row.subscriber) for row in rows]


def deliver(database: Database, clock: Clock, due: Sequence[Due]) -> None:
    """Run the handlers, each in a transaction of its own. A failure is recorded and does not stop the others."""
    for item in due:
        # The message's own trace and job are bound in their place once it is read.
        with bound_contextvars(message_id=item.message_id, subscriber=item.subscriber, trace=None, job_id=None):
            DELIVERIES.labels(item.subscriber, _deliver_one(database, clock, item)).inc()


def _deliver_one(database: Database, clock: Clock, item: Due) -> str:
    """What came of it, in one word."""
    try:
        with database.transaction() as session:
            _run(session, item, clock.now())
            failpoint("outbox.handled")
        failpoint("outbox.delivered")
    except NotReady:
        _note(database, item, clock.now(), error=None)
        return "not_ready"
    except Exception as error:
        log.exception("delivery_failed")
        _note(database, item, clock.now(), error=f"{type(error).__name__}: {error}"[:ERROR_MAX_CHARACTERS])
        return "failed"
    return "done"


def _run(session: Session, due: Due, now: datetime) -> None:
    """Lock the delivery, hand the message over, mark it done; one that is done already is left alone."""
    delivery = session.get(Delivery, (due.message_id, due.subscriber), with_for_update=True)
    if delivery is None or delivery.done_at is not None or delivery.parked_at is not None:
        return
    message = session.get_one(OutboxMessage, due.message_id)
    body = message_type(message.kind).model_validate(message.body)
    bind_contextvars(trace=body.trace, job_id=getattr(body, "job_id", None))
    handler(message.kind, due.subscriber)(session, body, now)
    delivery.done_at = now
    delivery.error = None


def _note(database: Database, due: Due, now: datetime, *, error: str | None) -> None:
    """Write down why it was not done: soon again when it was not ready, parked when it failed too often."""
    with database.transaction() as session:
        delivery = session.get(Delivery, (due.message_id, due.subscriber), with_for_update=True)
        if delivery is None or delivery.done_at is not None:
            return
        if error is None and delivery.attempts < ATTEMPTS_MAX:
            delivery.due_at = now + timedelta(seconds=NOT_READY_SECONDS * 2**delivery.attempts)
            return
        delivery.error = error or "NotReady: what it waits for never came"
        if delivery.attempts >= ATTEMPTS_MAX:
            delivery.parked_at = now
            log.error("delivery_parked", error=delivery.error)
