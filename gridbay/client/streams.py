"""Server-sent events that survive broken connections: a job's log, each byte once, and its changes."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
from httpx_sse import EventSource, ServerSentEvent, SSEError
from pydantic import BaseModel, ValidationError

from gridbay.client.refusals import NotAMarket
from gridbay.client.transport import Transport, TryAgain, segment
from market.customer_api import JobView, LogLine, Once
from market.errors import MarketError, Unavailable

QUIET_SECONDS = 5.0
"""How long a wait with a limit rests at most before it looks at the clock."""
COME_BACK_SECONDS = 1.0


class TimeIsUp(Exception):
    """A stream's reader wants to rest no longer."""


class WaitedTooLong(Unavailable):
    """The job goes on; only the waiting for it ended."""

    code = "waited_too_long"


@dataclass(frozen=True, slots=True, order=True)
class LogPosition:
    """The end of a piece: that attempt's log up to that byte."""

    attempt_number: int
    offset: int

    def __str__(self) -> str:
        return f"{self.attempt_number}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "LogPosition":
        """Of an event's id. Raises ValueError."""
        attempt, _, offset = text.partition(":")
        return cls(int(attempt), int(offset))


def follow_log(
    transport: Transport, job_id: str, *, follow: bool = True, after: LogPosition | None = None
) -> Iterator[LogLine]:
    """The log's pieces in order, none twice, whatever the connection does; ends when the market says that it is all.

    A reader that lags may get a piece that overlaps the one before it: only its new end is given.
    """
    reached = _Reached(after)
    for event in _events(transport, f"/v1/jobs/{segment(job_id)}/logs", {"follow": follow}, reached, endless=follow):
        if event.event == "end":
            reached.end = True
        if event.event != "log":
            continue
        piece = _read(LogLine, event.data)
        try:
            end = LogPosition.parse(event.id)
        except ValueError:
            raise NotAMarket(f"the market sent a log's event with the id {event.id[:40]!r}, which is none") from None
        fresh = _beyond(piece, end, reached.place)
        reached.place = end if reached.place is None else max(reached.place, end)
        if fresh is not None:
            yield fresh


def follow_job(
    transport: Transport, job_id: str, *, until: float | None = None, once: Once | None = None
) -> Iterator[JobView]:
    """The job at each change, the same one never twice in a row; ends after it is final and billed.

    once: a single time, when it is so far. until: the moment (time.monotonic) at which to raise TimeIsUp, some seconds
    late at most.
    """
    last: JobView | None = None
    path, params = f"/v1/jobs/{segment(job_id)}/events", {"once": once.value} if once else {}
    reached = _Reached(None)
    for event in _events(transport, path, params, reached, until=until):
        if not event.data:
            continue
        job = _read(JobView, event.data)
        reached.end = job.state.final and (job.billed or once is Once.OVER)
        if job != last and (reached.end or once is None):
            last = job
            yield job


def wait_until(transport: Transport, job_id: str, *, timeout_seconds: float | None, billed: bool) -> JobView:
    """The job once it is over, and billed if that is asked for."""
    until = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    try:
        # To its very end, so that the connection may be used again.
        told = list(follow_job(transport, job_id, until=until, once=Once.BILLED if billed else Once.OVER))
        return told[-1]
    except TimeIsUp:
        pass
    raise WaitedTooLong(
        f"{job_id} is not over after {timeout_seconds:g} s; it goes on", remedy=f"gridbay logs -f {job_id}"
    )


Answer = TypeVar("Answer", bound=BaseModel)


def _read(kind: type[Answer], data: str) -> Answer:
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise NotAMarket(f"the market sent a {kind.__name__} that cannot be read: {error}") from None


def _beyond(piece: LogLine, end: LogPosition, place: LogPosition | None) -> LogLine | None:
    """What of a piece lies behind the place one has reached; None if nothing does."""
    if place is None or LogPosition(piece.attempt_number, piece.offset) >= place:
        return piece
    if end <= place:
        return None
    missing = piece.text.encode()[-(end.offset - place.offset) :]
    return LogLine(attempt_number=piece.attempt_number, offset=place.offset, text=missing.decode(errors="replace"))


@dataclass(slots=True)
class _Reached:
    """Where a stream is taken up again; None: at its beginning, which for states is the state of now. end: nothing is
    missing any more."""

    place: LogPosition | None
    end: bool = False


def _events(
    transport: Transport,
    path: str,
    params: Mapping[str, Any],
    reached: _Reached,
    *,
    until: float | None = None,
    endless: bool = True,
) -> Iterator[ServerSentEvent]:
    """Events: a broken stream is taken up again where it was, as long as the patience lasts, unless its reader has
    reached the end.

    endless: so is one that was closed in order.
    """
    patience = transport.patience()
    while not reached.end:
        silence = _silence(until)
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": str(reached.place)} if reached.place else {})
        failure: MarketError = Unavailable(f"{path} ended early", remedy="ask again")
        after: float | None = COME_BACK_SECONDS
        try:
            with transport.stream(path, headers=headers, params=params, silence_seconds=silence) as response:
                for event in EventSource(response).iter_sse():
                    patience.restored()
                    yield event
            if not endless:
                return
        except TryAgain as refused:
            failure, after = refused.error, refused.after_seconds
        except SSEError as error:
            raise NotAMarket(f"{path} does not answer with events: {error}") from None
        except httpx.TransportError as error:
            if until is not None and isinstance(error, httpx.ReadTimeout):
                continue
            failure, after = transport.unreachable(error), None
        if not reached.end and not patience.wait(failure.detail, after):
            raise failure


def _silence(until: float | None) -> float | None:
    """How long a stream may say nothing before its reader looks at the clock. Raises TimeIsUp."""
    if until is None:
        return None
    left = until - time.monotonic()
    if left <= 0:
        raise TimeIsUp
    return min(left, QUIET_SECONDS)
