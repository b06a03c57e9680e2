"""Server-sent events: framing, keep-alive, an end for streams whose caller lost its right, a bound on how many."""

import contextlib
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Any, TypeVar

import structlog
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from portal_api.problems import TooMany, refusal_of

log = structlog.get_logger(__name__)

Item = TypeVar("Item")
MEDIA_TYPE = "text/event-stream"
LOOK_AGAIN_SECONDS = 5.0
"""How long a stream rests at most before it reads again, without any wake-up."""
KEEPALIVE_SECONDS = 15.0
RETRY_MS = 1_000
STREAMS_PER_OWNER_MAX = 200

EVENT_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "server-sent events", "content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}
}


class Begun:
    """The same frames, once the first of them is there: what is refused before it is refused as any request is."""

    def __init__(self, first: bytes, frames: AsyncGenerator[bytes, None]) -> None:
        self._first: bytes | None = first
        self._frames = frames

    @classmethod
    async def of(cls, frames: AsyncGenerator[bytes, None]) -> "Begun":
        return cls(await anext(frames, b""), frames)

    def __aiter__(self) -> "Begun":
        return self

    async def __anext__(self) -> bytes:
        first, self._first = self._first, None
        return first if first is not None else await anext(self._frames)

    async def aclose(self) -> None:
        await self._frames.aclose()


class EventStream(StreamingResponse):
    """Sends the frames of a generator and closes it whatever happens, so that what it watches is let go at once."""

    media_type = MEDIA_TYPE

    def __init__(self, frames: Begun, status_code: int = 200) -> None:
        self._source, self._frames = frames, _until_refused(frames)
        # Proxies must neither keep nor gather what is meant to arrive now.
        headers = {"Cache-Control": "no-store, no-transform", "X-Accel-Buffering": "no"}
        super().__init__(self._frames, status_code, headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._frames.aclose()
            # Wrapped in what may never have begun.
            await self._source.aclose()


def frame(event: str, data: str, event_id: str | None = None) -> bytes:
    """One event. data: JSON text."""
    return format_sse_event(event=event, data_str=data, id=event_id)


def opening() -> bytes:
    """The first frame: how soon to come back after a broken connection."""
    return format_sse_event(retry=RETRY_MS, comment="follow")


KEEPALIVE = KEEPALIVE_COMMENT


async def _until_refused(frames: Begun) -> AsyncGenerator[bytes, None]:
    """The frames; what an engine or a rule refuses in the middle ends the stream, and its reader comes back."""
    async with contextlib.aclosing(frames):
        try:
            async for item in frames:
                yield item
        except Exception as error:
            refusal = refusal_of(error)
            if refusal is None:
                raise
            log.info("stream_ended", code=refusal.code, detail=refusal.detail)


class StreamCounter:
    """Counts the streams of each owner in this process."""

    def __init__(self, per_owner_max: int = STREAMS_PER_OWNER_MAX) -> None:
        self._open: Counter[str] = Counter()
        self._per_owner_max = per_owner_max

    def admit(self, owner: str) -> None:
        """Raise TooMany when the owner has as many streams as one may have."""
        if self._open[owner] >= self._per_owner_max:
            raise TooMany(
                f"{self._per_owner_max} streams are open already",
                remedy="close one, or follow the organization's jobs one after the other",
            )

    async def counted(self, owner: str, frames: AsyncGenerator[Item, None]) -> AsyncGenerator[Item, None]:
        """The same frames; the stream counts for its owner from the first one until it ends."""
        self._open[owner] += 1
        try:
            async with contextlib.aclosing(frames):
                async for item in frames:
                    yield item
        finally:
            self._open[owner] -= 1
            if self._open[owner] <= 0:
                del self._open[owner]
