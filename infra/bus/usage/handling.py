"""Handing a batch over: waits while the handler cannot work, and finds the messages that no handler can take."""

from collections.abc import Sequence
from threading import Event

import structlog

from infra.bus.usage.port import RETRY_SECONDS, Handle, HandleLater, UsageMessage

log = structlog.get_logger(__name__)


def hand_over(handle: Handle, messages: Sequence[UsageMessage], stop: Event) -> list[int] | None:
    """The indexes of the messages to park; None if `stop` was set before anything could be handled.

    A batch that fails is handed over one message at a time, so that only the message at fault is parked.
    """
    try:
        return [] if _patiently(handle, messages, stop) else None
    except Exception as error:
        log.warning("usage_batch_failed", messages=len(messages), error=_words(error))
    refused = []
    for index, message in enumerate(messages):
        try:
            if not _patiently(handle, [message], stop):
                return None
        except Exception as error:
            log.error("usage_message_parked", node_id=message.node_id, error=_words(error))
            refused.append(index)
    return refused


def _patiently(handle: Handle, messages: Sequence[UsageMessage], stop: Event) -> bool:
    """Whether it was handled: an engine that is away is waited for, as long as nobody asks to stop."""
    while messages:
        try:
            handle(list(messages))
        except HandleLater as error:
            log.warning("usage_handled_later", messages=len(messages), error=str(error))
            if stop.wait(RETRY_SECONDS):
                return False
        else:
            break
    return True


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]
