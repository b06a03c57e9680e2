"""Publishing: a message and its deliveries become rows of the caller's transaction."""

from typing import Any

from sqlalchemy import insert, text
from sqlalchemy.orm import Session

from infra.logging import current_trace
from infra.outbox.subscriptions import subscribers
from infra.outbox.tables import Delivery, OutboxMessage
from market.messages import Message

OUTBOX_CHANNEL = "gridbay_outbox"
WAKE_CHANNEL = "gridbay_wake"


def publish(session: Session, *messages: Message) -> None:
    """Tell every subscriber, if this transaction commits; the relay is notified at the commit."""
    if not messages:
        return
    rows = [{"kind": type(message).__name__, "body": _body(message)} for message in messages]
    ids = session.scalars(insert(OutboxMessage).returning(OutboxMessage.id, sort_by_parameter_order=True), rows).all()
    deliveries = [
        {"message_id": message_id, "subscriber": subscriber}
        for message_id, message in zip(ids, messages, strict=True)
        for subscriber in subscribers(type(message).__name__)
    ]
    if deliveries:
        session.execute(insert(Delivery), deliveries)
        session.execute(text("SELECT pg_notify(:channel, '')"), {"channel": OUTBOX_CHANNEL})


def wake(session: Session, task: str) -> None:
    """Ask for a level-triggered task (it reads the truth itself) at the commit; many wishes become one run."""
    session.execute(text("SELECT pg_notify(:channel, :task)"), {"channel": WAKE_CHANNEL, "task": task})


def _body(message: Message) -> dict[str, Any]:
    """A message that names no request goes back to the one that is being worked for."""
    body = message.model_dump(mode="json")
    body["trace"] = body["trace"] or current_trace()
    return body
