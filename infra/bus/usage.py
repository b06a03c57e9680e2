"""The usage bus: carries verified reports from the portal to billing's consumer, at least once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from threading import Event
from typing import Any, Protocol, cast

import redis

STREAM, GROUP, CONSUMER = "gridbay:usage", "billing", "consumer"
BATCH_MAX = 500
BLOCK_MS = 1_000
RECLAIM_AFTER_MS = 10_000


@dataclass(frozen=True, slots=True)
class UsageMessage:
    """A report as it arrived. body: exactly the signed bytes; received_at: the server's clock."""

    node_id: str
    received_at: datetime
    body: bytes


class UsageBus(Protocol):
    """At least once, in no promised order; billing's merge does not mind."""

    def publish(self, messages: Sequence[UsageMessage]) -> None:
        """Returns once the bus has them all; raises when it has not."""

    def consume(self, handle: Callable[[list[UsageMessage]], None], stop: Event, batch_max: int = BATCH_MAX) -> None:
        """Hand batches over until `stop`; a batch is acknowledged only after `handle` returned."""


class ValkeyUsageBus:
    """A stream with one consumer group. What is acknowledged is deleted; a full server refuses: agents keep theirs."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def publish(self, messages: Sequence[UsageMessage]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for message in messages:
            pipeline.xadd(STREAM, _fields(message))
        pipeline.execute()

    def consume(self, handle: Callable[[list[UsageMessage]], None], stop: Event, batch_max: int = BATCH_MAX) -> None:
        self._ensure_group()
        while not stop.is_set():
            entries = self._lost(batch_max) or self._fresh(batch_max)
            if not entries:
                continue
            handle([_message(fields) for _, fields in entries if fields])
            ids = [entry_id for entry_id, _ in entries]
            pipeline = self._client.pipeline(transaction=True)
            pipeline.xack(STREAM, GROUP, *ids)
            pipeline.xdel(STREAM, *ids)
            pipeline.execute()

    def _ensure_group(self) -> None:
        try:
            self._client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise

    def _fresh(self, count: int) -> list[Any]:
        answer = cast(Any, self._client.xreadgroup(GROUP, CONSUMER, {STREAM: ">"}, count=count, block=BLOCK_MS))
        streams = answer.items() if isinstance(answer, dict) else answer or []
        return [entry for _, entries in streams for entry in _flat(entries)]

    def _lost(self, count: int) -> list[Any]:
        """What an earlier consumer took and never acknowledged."""
        answer = cast(Any, self._client.xautoclaim(STREAM, GROUP, CONSUMER, RECLAIM_AFTER_MS, "0-0", count=count))
        return list(answer[1])


def connect_usage_bus(url: str) -> UsageBus:
    """The usage bus that the URL names. Raises ValueError for a scheme that is not served."""
    if not url.startswith(("redis://", "rediss://")):
        raise ValueError(f"GRIDBAY_USAGE_BUS_URL: {url.partition(':')[0]}: is not served; use redis://")
    return ValkeyUsageBus(redis.Redis.from_url(url, socket_timeout=10, socket_connect_timeout=5))


def _flat(entries: Any) -> list[Any]:
    """Entries of one stream; the two protocol versions nest them differently."""
    return [entry for item in entries for entry in item] if entries and isinstance(entries[0], list) else list(entries)


def _fields(message: UsageMessage) -> dict[Any, Any]:
    return {"node": message.node_id, "at": message.received_at.isoformat(), "body": message.body}


def _message(fields: dict[bytes, bytes]) -> UsageMessage:
    return UsageMessage(
        node_id=fields[b"node"].decode(),
        received_at=datetime.fromisoformat(fields[b"at"].decode()),
        body=fields[b"body"],
    )
