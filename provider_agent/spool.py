"""The readings that billing does not have yet, of every lease; what is not durable there is never thrown away."""

import time
from collections.abc import Mapping
from pathlib import Path

import structlog

from market.agent_api import STREAMS_ASKED_MAX
from market.reading_runs import RUN_READINGS_MAX
from market.readings import Reading
from provider_agent.stream import BrokenStream, Stream, Usage

RESEND_SECONDS = 15.0
"""Readings that were sent and did not become durable for that long were lost between the portal and billing."""
KEPT_SECONDS = 7 * 24 * 3600
"""After a week without a change nobody will ask for a stream any more: its lease is long settled."""
PACE_SECONDS = 1.0
SLOW_PACE_SECONDS = 60.0
BACKLOG_MAX = 3600
"""Past an hour of readings that nobody takes, one a minute is kept: counters are cumulative, so none is missed."""

_log = structlog.get_logger(__name__)


class Spool:
    """All streams of a node, found again after a restart."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._streams: dict[str, Stream] = {}
        self._progress: dict[str, float] = {}
        for path in sorted(folder.glob("*.jsonl")):
            try:
                stream = Stream.load(path)
            except BrokenStream as error:
                _log.warning("a stream of readings is broken; its attempt begins a new one", error=str(error))
                path.rename(path.with_suffix(".broken"))
                continue
            self._streams[stream.stream_id] = stream

    def __len__(self) -> int:
        return len(self._streams)

    @property
    def waiting(self) -> list[str]:
        """Streams that are kept until billing has them, those that were sent first."""
        by_need = sorted(self._streams.values(), key=lambda stream: stream.sent_sequence == stream.durable_sequence)
        return [stream.stream_id for stream in by_need[:STREAMS_ASKED_MAX]]

    def of_attempt(self, attempt_id: str) -> Stream | None:
        """The attempt's stream that can go on, or the one that has ended."""
        found = [stream for stream in self._streams.values() if stream.attempt_id == attempt_id]
        return next((stream for stream in found if stream.continuable or stream.ended), None)

    def begin(self, *, lease_id: str, attempt_id: str, base: Usage) -> Stream:
        stream = Stream.begin(self._folder, lease_id=lease_id, attempt_id=attempt_id, base=base)
        self._streams[stream.stream_id] = stream
        return stream

    def unsent(self, limit: int = RUN_READINGS_MAX) -> list[Reading]:
        """What to report next, of all streams fairly. Streams that made no progress are sent again."""
        self._rewind_the_lost()
        readings: list[Reading] = []
        waiting = [stream for stream in self._streams.values() if stream.sent_sequence < stream.last_sequence]
        for position, stream in enumerate(waiting):
            share = (limit - len(readings)) // (len(waiting) - position)
            readings += stream.unsent(share)
        return readings

    def rewind(self) -> None:
        """The last report failed: everything that is not durable goes out again."""
        for stream in self._streams.values():
            stream.rewind()

    def settle(self, durable_through: Mapping[str, int]) -> None:
        """Trim to what billing has, and forget streams that are there in full and will not grow."""
        for stream_id, sequence in durable_through.items():
            stream = self._streams.get(stream_id)
            if stream is None:
                continue
            if sequence > stream.last_sequence:
                _log.warning("billing knows more of a stream than this node", stream_id=stream_id, durable=sequence)
                self._forget(stream)
                continue
            if sequence > stream.durable_sequence:
                self._progress[stream_id] = time.monotonic()
            stream.settle(sequence)
            if stream.backlog == 0 and not stream.continuable:
                self._forget(stream)

    def expire(self) -> None:
        """Drop what nobody took for a week."""
        now = time.time()
        for stream in [*self._streams.values()]:
            if now - stream.age_file > KEPT_SECONDS:
                _log.warning("dropping readings that nobody took for a week", stream_id=stream.stream_id)
                self._forget(stream)
        for path in self._folder.glob("*.broken"):
            if now - path.stat().st_mtime > KEPT_SECONDS:
                path.unlink(missing_ok=True)

    def _rewind_the_lost(self) -> None:
        now = time.monotonic()
        for stream_id, stream in self._streams.items():
            if stream.sent_sequence == stream.durable_sequence:
                self._progress[stream_id] = now
            elif now - self._progress.setdefault(stream_id, now) > RESEND_SECONDS:
                stream.rewind()
                self._progress[stream_id] = now

    def _forget(self, stream: Stream) -> None:
        stream.remove()
        self._streams.pop(stream.stream_id, None)
        self._progress.pop(stream.stream_id, None)


def pace_seconds(stream: Stream) -> float:
    """How often the stream is to be read now."""
    return PACE_SECONDS if stream.backlog < BACKLOG_MAX else SLOW_PACE_SECONDS
