"""One stream of readings on disk: numbered, chained, appended to, trimmed only to what billing has for good.

The file's first line is its head; each further line is one reading in canonical JSON.
"""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from market.canonical import canonical_json
from market.failpoints import failpoint
from market.readings import COUNTER_MAX, GENESIS, Reading
from provider_agent.durable import write_atomically
from provider_agent.minder.layout import boot_id

LINE_MAX_BYTES = 1024
TRIM_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Usage:
    """Cumulative counters of an attempt since its command started."""

    run_ms: int = 0
    cpu_ms: int = 0
    gpu_busy_ms: int = 0
    memory_peak_bytes: int = 0


class _Head(BaseModel):
    """base: the attempt's counters when the stream began; before: the newest reading that was trimmed away."""

    model_config = ConfigDict(frozen=True)

    stream_id: str
    lease_id: str
    attempt_id: str
    boot_id: str
    base: Usage
    before: Reading | None = None


class BrokenStream(Exception):
    """The file cannot be continued; its attempt begins a new stream."""


class Stream:
    """Readings of one lease. durable_sequence: what billing has; the cursor: what was sent since the last rewind."""

    def __init__(self, path: Path, head: _Head, last: Reading | None, size: int) -> None:
        self._path = path
        self._head = head
        self._size = size
        self._start = len(_line(head.model_dump(mode="json")))
        self._durable_offset = self._cursor = self._start
        self.last = last
        self.durable_sequence = self.sent_sequence = head.before.sequence if head.before else 0

    @classmethod
    def begin(cls, folder: Path, *, lease_id: str, attempt_id: str, base: Usage) -> "Stream":
        stream_id = secrets.token_hex(16)
        head = _Head(stream_id=stream_id, lease_id=lease_id, attempt_id=attempt_id, boot_id=boot_id(), base=base)
        path = folder / f"{stream_id}.jsonl"
        content = _line(head.model_dump(mode="json"))
        # Readings are not waited for either: after a power cut another stream counts on from where the counters are.
        write_atomically(path, content, durable=False)
        return cls(path, head, None, len(content))

    @classmethod
    def load(cls, path: Path) -> "Stream":
        """The stream of a file, cut back to its last whole reading. Raises BrokenStream on a broken chain."""
        try:
            with path.open("rb") as file:
                head = _Head.model_validate_json(file.readline(4 * LINE_MAX_BYTES))
                previous, size = head.before, file.tell()
                while (line := file.readline(LINE_MAX_BYTES)).endswith(b"\n"):
                    previous, size = _next_in_chain(previous, line), file.tell()
        except (ValidationError, OSError) as error:
            raise BrokenStream(f"{path.name}: {type(error).__name__}") from error
        if path.stat().st_size > size:
            os.truncate(path, size)
        return cls(path, head, previous, size)

    @property
    def stream_id(self) -> str:
        return self._head.stream_id

    @property
    def attempt_id(self) -> str:
        return self._head.attempt_id

    @property
    def last_sequence(self) -> int:
        return self.last.sequence if self.last else 0

    @property
    def ended(self) -> bool:
        return self.last is not None and self.last.final

    @property
    def continuable(self) -> bool:
        """After a power cut the file may lack readings that were sent, so another boot begins another stream."""
        return not self.ended and self._head.boot_id == boot_id()

    @property
    def backlog(self) -> int:
        """Readings that billing does not have yet."""
        return self.last_sequence - self.durable_sequence

    @property
    def gpu_busy_ms(self) -> int:
        """Of the attempt, up to the last reading: this counter lives nowhere else."""
        return self._head.base.gpu_busy_ms + (self.last.gpu_busy_ms if self.last else 0)

    @property
    def age_file(self) -> float:
        """Unix time of the last change on disk."""
        return self._path.stat().st_mtime

    def append(self, usage: Usage, *, final: bool, taken_at_ms: int) -> Reading:
        """The next reading, on disk. Raises OSError (disk full): then nothing was added, and the next one covers it."""
        base, last = self._head.base, self.last
        reading = Reading(
            lease_id=self._head.lease_id,
            stream_id=self.stream_id,
            sequence=self.last_sequence + 1,
            run_ms=_counter(usage.run_ms - base.run_ms, last.run_ms if last else 0),
            cpu_ms=_counter(usage.cpu_ms - base.cpu_ms, last.cpu_ms if last else 0),
            gpu_busy_ms=_counter(usage.gpu_busy_ms - base.gpu_busy_ms, last.gpu_busy_ms if last else 0),
            memory_peak_bytes=_counter(usage.memory_peak_bytes, last.memory_peak_bytes if last else 0),
            taken_at_ms=taken_at_ms,
            final=final,
            previous_hash=last.hash if last else GENESIS,
        )
        line = _line(reading.model_dump(mode="json"))
        self._write(line)
        self._size += len(line)
        self.last = reading
        failpoint("agent.spooled")
        return reading

    def unsent(self, limit: int) -> list[Reading]:
        """The readings after the cursor, which moves past them."""
        readings: list[Reading] = []
        with self._path.open("rb") as file:
            file.seek(self._cursor)
            while len(readings) < limit and self._cursor < self._size:
                line = file.readline(LINE_MAX_BYTES)
                readings.append(Reading.model_validate_json(line))
                self._cursor += len(line)
        if readings:
            self.sent_sequence = readings[-1].sequence
        return readings

    def rewind(self) -> None:
        """Send again what is not durable: it may have been lost on the way, and sending twice changes nothing."""
        self._cursor, self.sent_sequence = self._durable_offset, self.durable_sequence

    def settle(self, durable_sequence: int) -> None:
        """Take note that billing has the readings up to there for good; trim when it is worth it."""
        steps = min(durable_sequence, self.last_sequence) - self.durable_sequence
        if steps <= 0:
            return
        newest = b""
        with self._path.open("rb") as file:
            file.seek(self._durable_offset)
            for _ in range(steps):
                newest = file.readline(LINE_MAX_BYTES)
                self._durable_offset += len(newest)
        self.durable_sequence += steps
        if self._cursor < self._durable_offset:
            self._cursor, self.sent_sequence = self._durable_offset, self.durable_sequence
        if self._durable_offset - self._start > TRIM_BYTES:
            self._trim(Reading.model_validate_json(newest))

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)

    def _trim(self, before: Reading) -> None:
        head = self._head.model_copy(update={"before": before})
        first = _line(head.model_dump(mode="json"))
        with self._path.open("rb") as file:
            file.seek(self._durable_offset)
            rest = file.read(self._size - self._durable_offset)
        write_atomically(self._path, first + rest)
        moved = self._durable_offset - len(first)
        self._head, self._start, self._size = head, len(first), self._size - moved
        self._durable_offset -= moved
        self._cursor -= moved

    def _write(self, line: bytes) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            if os.write(descriptor, line) != len(line):
                raise OSError("the disk took only a part of a reading")
        except OSError:
            os.ftruncate(descriptor, self._size)
            raise
        finally:
            os.close(descriptor)


def _next_in_chain(previous: Reading | None, line: bytes) -> Reading:
    reading = Reading.model_validate_json(line)
    expected = (previous.sequence + 1, previous.hash) if previous else (1, GENESIS)
    if (reading.sequence, reading.previous_hash) != expected:
        raise BrokenStream(f"reading {reading.sequence} of {reading.stream_id} does not follow the one before it")
    return reading


def _counter(value: int, at_least: int) -> int:
    """Counters only grow, whatever a kernel's accounting says in between."""
    return min(max(value, at_least, 0), COUNTER_MAX)


def _line(document: dict[str, Any]) -> bytes:
    return canonical_json(document) + b"\n"
