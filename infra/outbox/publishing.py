"""Publishing: a message and its deliveries become rows of the caller's transaction."""

from pydantic_core import to_json
from sqlalchemy.orm import Session

from infra.logging import current_trace
from infra.outbox.subscriptions import subscribers
from infra.outbox.tables import Delivery, OutboxMessage
from infra.writing import Write, write
from market.messages import Message

OUTBOX_CHANNEL = "gridbay_outbox"
WAKE_CHANNEL = "gridbay_wake"
_TABLES = frozenset({OutboxMessage.__tablename__, Delivery.__tablename__})

# Identities are drawn in the order of the given rows. The last part notifies the relay once, if anybody is to hear it
# at once; what has patience is found by the relay's sweep.
_STEPS = """
    message{n} AS (
        INSERT INTO outbox_messages (kind, body)
        SELECT kind, body
        FROM ROWS FROM (unnest(cast(:kinds{n} AS text[])), jsonb_array_elements(cast(:bodies{n} AS jsonb)))
            WITH ORDINALITY AS given(kind, body, place)
        ORDER BY place
        RETURNING id, kind
    ), delivery{n} AS (
        INSERT INTO outbox_deliveries (message_id, subscriber, attempts, due_at)
        SELECT message.id, subscription.subscriber, 0, now() + subscription.patience * interval '1 second'
        FROM message{n} AS message
        JOIN unnest(cast(:heard_kinds{n} AS text[]), cast(:subscribers{n} AS text[]), cast(:patiences{n} AS float[]))
            AS subscription(kind, subscriber, patience) ON subscription.kind = message.kind
        RETURNING due_at
    )
"""
_NOTIFY = f"SELECT pg_notify('{OUTBOX_CHANNEL}', '') WHERE EXISTS (SELECT FROM delivery{{n}} WHERE due_at <= now())"  # noqa: S608 - made of constants
_WISH = "wish{n} AS (SELECT cast(:task{n} AS text) AS task)"
_WAKE = f"SELECT pg_notify('{WAKE_CHANNEL}', task) FROM wish{{n}}"  # noqa: S608 - made of constants


def publish(session: Session, *messages: Message) -> None:
    """Tell every subscriber, if this transaction commits; the relay is notified at the commit."""
    if not messages:
        return
    kinds = [type(message).__name__ for message in messages]
    heard = [(kind, *subscription) for kind in sorted(set(kinds)) for subscription in subscribers(kind).items()]
    values = {
        "kinds{n}": kinds,
        # One document: neither side takes the bodies apart one by one.
        "bodies{n}": to_json([_traced(message) for message in messages]).decode(),
        "heard_kinds{n}": [kind for kind, _, _ in heard],
        "subscribers{n}": [subscriber for _, subscriber, _ in heard],
        "patiences{n}": [patience for _, _, patience in heard],
    }
    write(session, Write(_TABLES, _STEPS, values, _NOTIFY))


def wake(session: Session, task: str, *, where: str = "") -> None:
    """Ask for a level-triggered task (it reads the truth itself) at the commit; many wishes become one run.

    where: SQL of a condition, if it is to be asked for only then.
    """
    write(session, Write(frozenset(), _WISH, {"task{n}": task}, f"{_WAKE} WHERE {where}" if where else _WAKE))


def _traced(message: Message) -> Message:
    """A message that names no request goes back to the one that is being worked for."""
    if message.trace is None and (trace := current_trace()) is not None:
        return message.model_copy(update={"trace": trace})
    return message
