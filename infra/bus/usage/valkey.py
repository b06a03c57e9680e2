"""The usage bus on Valkey or Redis: a stream with one consumer group. What is acknowledged is deleted."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from threading import Event
from typing import Any, NamedTuple, cast

import redis
import structlog

from infra.bus.usage.handling import hand_over
from infra.bus.usage.port import (
    BATCH_MAX,
    DELIVERIES_MAX,
    GATHER_SECONDS,
    LENGTH_MAX,
    BusUnavailable,
    Handle,
    UsageMessage,
)

log = structlog.get_logger(__name__)
GROUP, CONSUMER = "billing", "consumer"
BLOCK_MS = 1_000
RECLAIM_AFTER_MS = 10_000
PARKED_MAX = 10_000


class _Entry(NamedTuple):
    id: bytes
    fields: dict[bytes, bytes]


class ValkeyUsageBus:
    """A server that is full, or a stream that is too long, refuses; nothing is dropped to make room."""

    def __init__(
        self, url: str, prefix: str, *, length_max: int = LENGTH_MAX, reclaim_after_ms: int = RECLAIM_AFTER_MS
    ) -> None:
        self._client = redis.Redis.from_url(url, socket_timeout=10, socket_connect_timeout=5)
        self.stream, self.parked_stream = f"{prefix}:usage", f"{prefix}:usage:parked"
        self._length_max, self._reclaim_after_ms = length_max, reclaim_after_ms
        self._length = length_max

    def publish(self, messages: Sequence[UsageMessage]) -> None:
        with _asking():
            self._require_room(len(messages))
            pipeline = self._client.pipeline(transaction=False)
            for message in messages:
                pipeline.xadd(self.stream, _fields(message))
            pipeline.xlen(self.stream)
            self._length = pipeline.execute()[-1]

    def consume(self, handle: Handle, stop: Event, batch_max: int = BATCH_MAX) -> None:
        with _asking():
            self._ensure_group()
        while not stop.is_set():
            with _asking():
                entries = self._lost(batch_max) or self._fresh(batch_max)
            if entries:
                self._deal_with(entries, handle, stop)
                if len(entries) < batch_max:
                    stop.wait(GATHER_SECONDS)

    def waiting(self) -> int:
        with _asking():
            return self._client.xlen(self.stream)

    def parked(self) -> int:
        with _asking():
            return self._client.xlen(self.parked_stream)

    def close(self) -> None:
        self._client.close()

    def _require_room(self, messages: int) -> None:
        """By the length after the last batch; only where that was too long already is it asked for again."""
        if self._length + messages > self._length_max:
            self._length = self._client.xlen(self.stream)
        if self._length + messages > self._length_max:
            raise BusUnavailable(f"the usage bus is full: {self._length_max} messages wait to be billed")

    def _deal_with(self, entries: list[_Entry], handle: Handle, stop: Event) -> None:
        read = [(entry, _message(entry.fields)) for entry in entries]
        known = [(entry, message) for entry, message in read if message is not None]
        refused = hand_over(handle, [message for _, message in known], stop)
        if refused is None:
            return
        unread = [entry for entry, message in read if message is None and entry.fields]
        with _asking():
            self._settle(entries, [*unread, *(known[index][0] for index in refused)])

    def _settle(self, entries: Sequence[_Entry], refused: Sequence[_Entry]) -> None:
        """Acknowledge, delete, and keep aside what was refused: all of it or nothing."""
        ids = [entry.id for entry in entries]
        pipeline = self._client.pipeline(transaction=True)
        for entry in refused:
            pipeline.xadd(self.parked_stream, cast(Any, entry.fields), maxlen=PARKED_MAX, approximate=True)
        pipeline.xack(self.stream, GROUP, *ids)
        pipeline.xdel(self.stream, *ids)
        pipeline.execute()

    def _ensure_group(self) -> None:
        try:
            self._client.xgroup_create(self.stream, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    def _fresh(self, count: int) -> list[_Entry]:
        answer = cast(Any, self._client.xreadgroup(GROUP, CONSUMER, {self.stream: ">"}, count=count, block=BLOCK_MS))
        streams = answer.items() if isinstance(answer, dict) else answer or []
        return [_Entry(*entry) for _, entries in streams for entry in _flat(entries)]

    def _lost(self, count: int) -> list[_Entry]:
        """What an earlier consumer took and never acknowledged; what came back too often is parked."""
        claimed: Any = self._client.xautoclaim(self.stream, GROUP, CONSUMER, self._reclaim_after_ms, "0-0", count=count)
        entries = [_Entry(*entry) for entry in claimed[1]]
        if not entries:
            return []
        pending: Any = self._client.xpending_range(self.stream, GROUP, entries[0].id, entries[-1].id, count)
        worn = {item["message_id"] for item in pending if item["times_delivered"] > DELIVERIES_MAX}
        if worn:
            log.error("usage_messages_parked", messages=len(worn), deliveries=DELIVERIES_MAX)
            gone = [entry for entry in entries if entry.id in worn]
            self._settle(gone, gone)
        return [entry for entry in entries if entry.id not in worn]


@contextmanager
def _asking() -> Iterator[None]:
    try:
        yield
    except (redis.RedisError, OSError) as error:
        raise BusUnavailable(
            f"the usage bus does not answer: {type(error).__name__}: {error}"[:500], remedy="try again in a moment"
        ) from error


def _flat(entries: Any) -> list[Any]:
    """Entries of one stream; the two protocol versions nest them differently."""
    return [entry for item in entries for entry in item] if entries and isinstance(entries[0], list) else list(entries)


def _fields(message: UsageMessage) -> dict[Any, Any]:
    return {"node": message.node_id, "at": message.received_at.isoformat(), "body": message.body}


def _message(fields: dict[bytes, bytes]) -> UsageMessage | None:
    """None if it is none of ours."""
    try:
        return UsageMessage(
            node_id=fields[b"node"].decode(),
            received_at=datetime.fromisoformat(fields[b"at"].decode()),
            body=fields[b"body"],
        )
    except (KeyError, ValueError, TypeError):
        return None
