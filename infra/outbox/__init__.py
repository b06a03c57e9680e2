"""The outbox: messages that join the transaction that makes them true, and what remains to be delivered."""

from infra.outbox.publishing import publish, wake
from infra.outbox.subscriptions import NotReady, subscribe, subscribe_many

__all__ = ["NotReady", "publish", "subscribe", "subscribe_many", "wake"]
