"""Publishing: a message and its deliveries become rows of the caller's transaction."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.orm import Session

from infra.logging import current_trace
from infra.outbox.subscriptions import subscribers
from market.messages import Message

OUTBOX_CHANNEL = "gridbay_outbox"
WAKE_CHANNEL = "gridbay_wake"

# Identities are drawn in the order of the given rows. The last part notifies the relay once, if anybody is to hear.
_PUBLISH = text(
    """
    WITH message AS (
        INSERT INTO outbox_messages (kind, body)
        SELECT kind, cast(body AS jsonb)
        FROM unnest(cast(:kinds AS text[]), cast(:bodies AS text[])) WITH ORDINALITY AS given(kind, body, place)
        ORDER BY place
        RETURNING id, kind
    ), delivery AS (
        INSERT INTO outbox_deliveries (message_id, subscriber, attempts)
        SELECT message.id, subscription.subscriber, 0
        FROM message
        JOIN unnest(cast(:heard_kinds AS text[]), cast(:subscribers AS text[])) AS subscription(kind, subscriber)
            ON subscription.kind = message.kind
        RETURNING 1
    )
    SELECT pg_notify(:channel, '') WHERE EXISTS (SELECT FROM delivery)
    UNION ALL SELECT pg_notify(:wake_channel, task) FROM unnest(cast(:tasks AS text[])) AS task
    """
)
_WAKE = text("SELECT pg_notify(:channel, :task)")


def publish(session: Session, *messages: Message, wakes: Sequence[str] = ()) -> None:
    """Tell every subscriber, if this transaction commits; the relay is notified at the commit.

    wakes: tasks to `wake` in the same breath.
    """
    if not messages:
        for task in wakes:
            wake(session, task)
        return
    kinds = [type(message).__name__ for message in messages]
    heard = [(kind, subscriber) for kind in sorted(set(kinds)) for subscriber in subscribers(kind)]
    values = {
        "kinds": kinds,
        "bodies": [_body(message) for message in messages],
        "heard_kinds": [kind for kind, _ in heard],
        "subscribers": [subscriber for _, subscriber in heard],
        "channel": OUTBOX_CHANNEL,
        "wake_channel": WAKE_CHANNEL,
        "tasks": list(wakes),
    }
    session.execute(_PUBLISH, values)


def wake(session: Session, task: str) -> None:
    """Ask for a level-triggered task (it reads the truth itself) at the commit; many wishes become one run."""
    session.execute(_WAKE, {"channel": WAKE_CHANNEL, "task": task})


def _body(message: Message) -> str:
    """JSON. A message that names no request goes back to the one that is being worked for."""
    if message.trace is None and (trace := current_trace()) is not None:
        message = message.model_copy(update={"trace": trace})
    return message.model_dump_json()
