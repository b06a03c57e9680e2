"""Who wants to hear what. Contexts register their handlers when their module is imported."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy.orm import Session

Body = TypeVar("Body")
Handler = Callable[[Session, Any, datetime], None]

_handlers: dict[str, dict[str, Handler]] = {}


class NotReady(Exception):
    """Raised by a handler whose turn has not come, because an earlier message is still under way; it is tried again."""


def subscribe(message: type[Body], name: str) -> Callable[[Callable[[Session, Body, datetime], None]], Handler]:
    """Register `handler(session, message, now)` under a name that never changes, such as "billing.bind_window"."""

    def register(handler: Callable[[Session, Body, datetime], None]) -> Handler:
        _handlers.setdefault(message.__name__, {})[name] = handler
        return handler

    return register


def subscribers(kind: str) -> list[str]:
    """The names of the subscribers of that kind of message."""
    return sorted(_handlers.get(kind, ()))


def handler(kind: str, subscriber: str) -> Handler:
    """The handler of that name. Raises KeyError when this process does not have it."""
    return _handlers[kind][subscriber]
