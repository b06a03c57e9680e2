"""Who wants to hear what. Contexts register their handlers when their module is imported."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy.orm import Session
from structlog.contextvars import bind_contextvars

Body = TypeVar("Body")
Handler = Callable[[Session, Sequence[Any], datetime], Collection[Any]]
"""Handles a set of messages of one kind and returns those whose turn has not come; they are handed over again."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """patience_seconds: how long its deliveries may gather before they go, so that many cost one transaction."""

    handler: Handler
    patience_seconds: float


_subscriptions: dict[str, dict[str, Subscription]] = {}


class NotReady(Exception):
    """Raised by a handler whose turn has not come, because an earlier message is still under way; it is tried again."""


def subscribe(
    message: type[Body], name: str
) -> Callable[[Callable[[Session, Body, datetime], None]], Callable[[Session, Body, datetime], None]]:
    """Register `handler(session, message, now)` under a name that never changes, such as "scheduler.stop_unfunded".

    It may raise NotReady. Where many messages come at once, `subscribe_many` is the faster choice.
    """

    def register(handler: Callable[[Session, Body, datetime], None]) -> Callable[[Session, Body, datetime], None]:
        subscribe_many(message, name)(_singly(handler))
        return handler

    return register


def subscribe_many(
    message: type[Body], name: str, *, patience_seconds: float = 0.0
) -> Callable[
    [Callable[[Session, Sequence[Body], datetime], Collection[Body]]],
    Callable[[Session, Sequence[Body], datetime], Collection[Body]],
]:
    """Register a handler of sets: `handler(session, messages, now)` returns the messages whose turn has not come.

    Who is not waited for by anybody has some patience: placing and answering go first.
    """

    def register(
        handler: Callable[[Session, Sequence[Body], datetime], Collection[Body]],
    ) -> Callable[[Session, Sequence[Body], datetime], Collection[Body]]:
        _subscriptions.setdefault(message.__name__, {})[name] = Subscription(handler, patience_seconds)
        return handler

    return register


def subscribers(kind: str) -> dict[str, float]:
    """The subscribers of that kind of message by name, each with its patience in seconds."""
    return {name: found.patience_seconds for name, found in sorted(_subscriptions.get(kind, {}).items())}


def handler(kind: str, subscriber: str) -> Handler:
    """The handler of that name. Raises KeyError when this process does not have it."""
    return _subscriptions[kind][subscriber].handler


def bind_message(message: object) -> None:
    """Have whatever is logged and published from now on say which request and job it is for."""
    bind_contextvars(trace=getattr(message, "trace", None), job_id=getattr(message, "job_id", None))


def _singly(handle: Callable[[Session, Body, datetime], None]) -> Handler:
    """A handler of sets that takes one message after the other; one that is not ready leaves nothing behind."""

    def handle_all(session: Session, messages: Sequence[Body], now: datetime) -> list[Body]:
        waiting = []
        for message in messages:
            bind_message(message)
            try:
                with session.begin_nested():
                    handle(session, message, now)
            except NotReady:
                waiting.append(message)
        return waiting

    return handle_all
