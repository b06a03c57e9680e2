"""The readings of an attempt: taken from its minder's counters, once a second and once more when it has ended."""

import time

from provider_agent.attempts.attempt import Attempt
from provider_agent.minder import control, orders
from provider_agent.spool import PACE_SECONDS, pace_seconds
from provider_agent.stream import Stream, Usage


class Meter:
    """Appends to the attempt's stream; a stream that was lost is followed by a new one that counts from there."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._busy_seen_ms = attempt.means.busy.total_ms(attempt.record.gpu_uuids)
        self._due_at = time.monotonic() + PACE_SECONDS

    def begin(self) -> None:
        """Have a stream before anything runs: from then on a missing one is known to be lost."""
        if self._attempt.means.spool.of_attempt(self._attempt.attempt_id) is None:
            self._begin(orders.Usage(run_ms=0, cpu_ms=0, memory_peak_bytes=0))
        self._attempt.note(stream_begun=True)

    def take_if_due(self) -> None:
        """A reading, when the last one is a second old (a minute, once nobody has taken readings for an hour)."""
        if time.monotonic() < self._due_at:
            return
        stream = self._take(final=False)
        self._due_at = time.monotonic() + (pace_seconds(stream) if stream else PACE_SECONDS)

    def take_final(self) -> bool:
        """Whether the last reading is kept; an attempt that never ran says so too, so that nobody waits for more."""
        if self._attempt.record.final_read:
            return True
        stream = self._take(final=True)
        return stream is not None and stream.ended

    def _take(self, *, final: bool) -> Stream | None:
        attempt = self._attempt
        counters = self._counters()
        try:
            stream = attempt.means.spool.of_attempt(attempt.attempt_id) or self._begin(counters)
            if stream.ended:
                return stream
            busy_ms = attempt.means.busy.total_ms(attempt.record.gpu_uuids)
            usage = Usage(
                run_ms=counters.run_ms,
                cpu_ms=counters.cpu_ms,
                gpu_busy_ms=stream.gpu_busy_ms + busy_ms - self._busy_seen_ms,
                memory_peak_bytes=counters.memory_peak_bytes,
            )
            stream.append(usage, final=final, taken_at_ms=time.time_ns() // 1_000_000)
        except OSError as error:
            # Counters are cumulative: the next reading that fits on the disk says all that this one would have.
            attempt.log.warning("a reading could not be kept", error=str(error))
            return None
        self._busy_seen_ms = busy_ms
        return stream

    def _begin(self, counters: orders.Usage) -> Stream:
        attempt = self._attempt
        lost = attempt.record.stream_begun
        if lost:
            attempt.log.warning("the stream of readings was lost; a new one counts from here")
        base = Usage(counters.run_ms, counters.cpu_ms, 0, counters.memory_peak_bytes) if lost else Usage()
        stream = attempt.means.spool.begin(lease_id=attempt.record.lease_id, attempt_id=attempt.attempt_id, base=base)
        # After the stream: a kill in between finds the stream, and does not take it for a lost one.
        attempt.note(stream_begun=True)
        return stream

    def _counters(self) -> orders.Usage:
        try:
            outcome = control.outcome(self._attempt.folder)
            counters = outcome.usage if outcome else control.usage(self._attempt.folder)
        except orders.UnreadableFile as error:
            self._attempt.log.warning("the counters cannot be read", error=str(error))
            counters = None
        return counters or orders.Usage(run_ms=0, cpu_ms=0, memory_peak_bytes=0)
