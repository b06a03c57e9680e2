"""Following a job: its log as text, chunk by chunk and attempt by attempt, and its states as they change.

An event's id is "{attempt}:{end offset}" in bytes, so a reader that comes back with its last id misses and repeats
nothing. Characters are never cut: bytes of one that is not complete yet wait for the next event.
"""

import codecs
import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

from market.customer_api import JobView, LogLine, Once
from market.errors import FieldError, InvalidInput, Unauthenticated
from market.failpoints import failpoint
from portal_api import customer_jobs
from portal_api.portal import Portal
from portal_api.streams import KEEPALIVE, KEEPALIVE_SECONDS, LOOK_AGAIN_SECONDS, frame, opening
from portal_api.topics import Watch
from scheduler.files import logs

EVENT_BYTES_MAX = 64 * 1024
_EVENT_ID = re.compile(r"^([1-9]\d{0,8}):(\d{1,15})$", re.ASCII)

StillAllowed = Callable[[], Awaitable[object]]
"""Raises Unauthenticated once the credential that opened the stream is no longer good."""


@dataclass(frozen=True, slots=True)
class LogPlace:
    """A place in a job's log: an attempt's number and an offset in its bytes."""

    attempt_number: int
    offset: int

    @property
    def event_id(self) -> str:
        return f"{self.attempt_number}:{self.offset}"


def place_after(last_event_id: str | None) -> LogPlace:
    """Where to go on after that event. Raises InvalidInput."""
    if not last_event_id:
        return LogPlace(1, 0)
    match = _EVENT_ID.match(last_event_id)
    if match is None:
        fault = FieldError(
            "", "it is not the id of an event of this log", "wrong_form", source="header", parameter="Last-Event-ID"
        )
        remedy = "leave it out to read from the beginning"
        raise InvalidInput(f"Last-Event-ID: {fault.detail}", remedy=remedy, errors=[fault])
    return LogPlace(int(match[1]), int(match[2]))


def decoded(data: bytes, *, complete: bool) -> tuple[str, int]:
    """The text of the whole characters at the beginning of the data, and how many bytes they are.

    complete: nothing follows, so a character that was cut becomes a replacement mark. However a log is cut into
    pieces, the texts add up to `log.decode("utf-8", "replace")`.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data, final=complete)
    pending = decoder.getstate()[0]
    return text, len(data) - len(pending)


async def follow_log(
    portal: Portal, organization_id: str, job_id: str, place: LogPlace, *, allowed: StillAllowed, wait: bool
) -> AsyncGenerator[bytes, None]:
    """`log` events from that place on, then `end` with the job. wait: until the job is over, else what is there now.

    Raises NotFound before its first frame.
    """
    spoke_at = time.monotonic()
    with portal.topics.watch(f"log:{job_id}", f"job:{job_id}") as watch:
        # The job before its log: an attempt that has ended by now has delivered all of it.
        job = await customer_jobs.get(portal, organization_id, job_id)
        yield opening()
        while not watch.ending and await _good(allowed):
            attempt = next((item for item in job.attempts if item.number == place.attempt_number), None)
            over = attempt is not None and attempt.state.final
            read = await _read(portal, job_id, place, complete=over or not wait) if attempt is not None else None
            if read is not None:
                line, place = read
                yield frame("log", line.model_dump_json(), place.event_id)
                failpoint("api.stream.mid")
                spoke_at = time.monotonic()
            elif (over or not wait) and place.attempt_number < len(job.attempts):
                place = LogPlace(place.attempt_number + 1, 0)
            elif not wait or (job.state.final and (over or attempt is None)):
                yield frame("end", job.model_dump_json())
                return
            else:
                spoke_at, keepalive = await _rest(watch, spoke_at)
                if keepalive:
                    yield keepalive
            job = await customer_jobs.get(portal, organization_id, job_id)


async def follow_job(
    portal: Portal, organization_id: str, job_id: str, *, allowed: StillAllowed
) -> AsyncGenerator[bytes, None]:
    """A `job` event at once and at every change, until the job is over and billed.

    Raises NotFound before its first frame.
    """
    spoke_at, shown = time.monotonic(), None
    with portal.topics.watch(f"job:{job_id}") as watch:
        job = await customer_jobs.get(portal, organization_id, job_id)
        yield opening()
        while not watch.ending and await _good(allowed):
            if job != shown:
                yield frame("job", job.model_dump_json(), str(job.version))
                spoke_at, shown = time.monotonic(), job
            if job.billed:
                return
            spoke_at, keepalive = await _rest(watch, spoke_at)
            if keepalive:
                yield keepalive
            job = await customer_jobs.get(portal, organization_id, job_id)


async def await_job(
    portal: Portal, organization_id: str, job_id: str, *, allowed: StillAllowed, once: Once
) -> AsyncGenerator[bytes, None]:
    """A single `job` event, when the job is so far.

    Raises NotFound before its first frame.
    """
    spoke_at = time.monotonic()
    with portal.topics.watch(f"over:{job_id}") as watch:
        # As a rule it has just been submitted, and nothing else of it is of any use yet.
        over = (await customer_jobs.state(portal, organization_id, job_id)).final
        job = await customer_jobs.get(portal, organization_id, job_id) if over else None
        yield opening()
        while not watch.ending and await _good(allowed):
            if job is not None and (job.state.final if once is Once.OVER else job.billed):
                yield frame("job", job.model_dump_json(), str(job.version))
                return
            spoke_at, keepalive = await _rest(watch, spoke_at)
            if keepalive:
                yield keepalive
            job = await customer_jobs.get(portal, organization_id, job_id)


async def changes(
    portal: Portal, organization_id: str, job_id: str, *, allowed: StillAllowed
) -> AsyncGenerator[JobView, None]:
    """The job at once and at every change, until it is over and billed."""
    shown: JobView | None = None
    with portal.topics.watch(f"job:{job_id}") as watch:
        while not watch.ending and await _good(allowed):
            job = await customer_jobs.get(portal, organization_id, job_id)
            if job != shown:
                shown = job
                yield job
            if job.billed:
                return
            await watch.wait(LOOK_AGAIN_SECONDS)


async def _read(portal: Portal, job_id: str, place: LogPlace, *, complete: bool) -> tuple[LogLine, LogPlace] | None:
    """The next chunk of an attempt's log, if there is one."""
    storage = portal.base.storage
    pieces = await portal.threads.read(
        lambda session: logs.read(session, storage, job_id, place.attempt_number, place.offset, EVENT_BYTES_MAX)
    )
    data = b"".join(piece.data for piece in pieces if piece.attempt_number == place.attempt_number)
    text, size = decoded(data, complete=False)
    if data and not text and complete:
        text, size = decoded(data, complete=True)
    if not text:
        return None
    line = LogLine(attempt_number=place.attempt_number, offset=place.offset, text=text)
    return line, LogPlace(place.attempt_number, place.offset + size)


async def _rest(watch: Watch, spoke_at: float) -> tuple[float, bytes]:
    """Wait for a wake-up or for the next look; a keep-alive when nothing was said for long."""
    await watch.wait(LOOK_AGAIN_SECONDS)
    now = time.monotonic()
    return (now, KEEPALIVE) if now - spoke_at >= KEEPALIVE_SECONDS else (spoke_at, b"")


async def _good(allowed: StillAllowed) -> bool:
    try:
        await allowed()
    except Unauthenticated:
        return False
    return True
