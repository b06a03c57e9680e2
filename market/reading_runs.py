"""Runs of readings: unbroken pieces of streams by column, as reports carry them (docs/formats/reading.md).

Within a run each reading names the hash of the one before it, so neither those hashes nor the names are said again.
"""

import hashlib
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from market.readings import COUNTER_MAX, READING_TAG, Counter, Hash, Name, Reading, quoted

RUN_READINGS_MAX = 2_000
"""Of all runs of a report together."""
Column = Annotated[list[Counter], Field(min_length=1, max_length=RUN_READINGS_MAX)]


class ReadingRun(BaseModel):
    """Readings `first`, `first` + 1, … of one stream; each column has one value a reading, as in Reading.

    previous_hash: that the first one names; final: of the last.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lease_id: Name
    stream_id: Name
    first: int = Field(ge=1, le=COUNTER_MAX)
    previous_hash: Hash
    run_ms: Column
    cpu_ms: Column
    gpu_busy_ms: Column
    memory_peak_bytes: Column
    taken_at_ms: Column
    final: bool = False

    @model_validator(mode="after")
    def _whole(self) -> Self:
        lengths = {len(column) for column in self.columns}
        if len(lengths) != 1:
            raise ValueError("the columns of a run have one value for each of its readings")
        if self.last > COUNTER_MAX:
            raise ValueError(f"the last reading's number is beyond {COUNTER_MAX}")
        return self

    @property
    def columns(self) -> tuple[list[int], list[int], list[int], list[int], list[int]]:
        """In the order of the fields."""
        return self.run_ms, self.cpu_ms, self.gpu_busy_ms, self.memory_peak_bytes, self.taken_at_ms

    @property
    def count(self) -> int:
        return len(self.run_ms)

    @property
    def last(self) -> int:
        """The number of its last reading."""
        return self.first + len(self.run_ms) - 1

    def hashes(self) -> list[str]:
        """The hash of each of its readings, as `Reading.hash` gives it; written out, because there are so many."""
        lease, stream, previous = quoted(self.lease_id), quoted(self.stream_id), self.previous_hash
        ends, sha256, found = self.last if self.final else 0, hashlib.sha256, list[str]()
        for number, run_ms, cpu_ms, busy_ms, memory, taken_at in zip(count(self.first), *self.columns, strict=False):
            previous = sha256(
                f'{READING_TAG}\n{{"cpu_ms":{cpu_ms},"final":{"true" if number == ends else "false"},'
                f'"gpu_busy_ms":{busy_ms},"lease_id":{lease},"memory_peak_bytes":{memory},'
                f'"previous_hash":"{previous}","run_ms":{run_ms},"sequence":{number},'
                f'"stream_id":{stream},"taken_at_ms":{taken_at}}}'.encode()
            ).hexdigest()
            found.append(previous)
        return found

    def readings(self) -> list[Reading]:
        """The same, one by one."""
        before = [self.previous_hash, *self.hashes()]
        return [
            Reading(
                lease_id=self.lease_id,
                stream_id=self.stream_id,
                sequence=self.first + number,
                run_ms=run_ms,
                cpu_ms=cpu_ms,
                gpu_busy_ms=busy_ms,
                memory_peak_bytes=memory,
                taken_at_ms=taken_at,
                final=self.final and number == self.count - 1,
                previous_hash=before[number],
            )
            for number, (run_ms, cpu_ms, busy_ms, memory, taken_at) in enumerate(zip(*self.columns, strict=True))
        ]


def runs_of(readings: Iterable[Reading]) -> Iterator[ReadingRun]:
    """The fewest runs that say the same, in the same order; a reading that does not continue begins another."""
    begun: list[Reading] = []
    last = ""
    for reading in readings:
        if begun and (len(begun) == RUN_READINGS_MAX or not _continues(reading, begun[-1], last)):
            yield _run(begun)
            begun = []
        begun.append(reading)
        last = reading.hash
    if begun:
        yield _run(begun)


def _continues(reading: Reading, before: Reading, hash_before: str) -> bool:
    return (
        reading.sequence == before.sequence + 1
        and reading.previous_hash == hash_before
        and reading.stream_id == before.stream_id
        and reading.lease_id == before.lease_id
        and not before.final
    )


def _run(readings: list[Reading]) -> ReadingRun:
    first = readings[0]
    return ReadingRun(
        lease_id=first.lease_id,
        stream_id=first.stream_id,
        first=first.sequence,
        previous_hash=first.previous_hash,
        run_ms=[reading.run_ms for reading in readings],
        cpu_ms=[reading.cpu_ms for reading in readings],
        gpu_busy_ms=[reading.gpu_busy_ms for reading in readings],
        memory_peak_bytes=[reading.memory_peak_bytes for reading in readings],
        taken_at_ms=[reading.taken_at_ms for reading in readings],
        final=readings[-1].final,
    )
