"""The row of a reading in COPY's text format, and what is read back out of it."""

from collections.abc import Iterable, Sequence

from market.reading_runs import ReadingRun
from market.readings import Reading

COLUMNS = (
    "stream_id",
    "sequence",
    "run_ms",
    "cpu_ms",
    "gpu_busy_ms",
    "memory_peak_bytes",
    "taken_at_ms",
    "final",
    "previous_hash",
    "hash",
    "received_at",
)
_SEQUENCE, _PREVIOUS, _HASH = COLUMNS.index("sequence"), COLUMNS.index("previous_hash"), COLUMNS.index("hash")


def line_of(name: str, reading: Reading, hash_: str, received_at: str) -> str:
    """name: of its stream, escaped; hash_: the reading's own; received_at: in ISO 8601."""
    return (
        f"{name}\t{reading.sequence}\t{reading.run_ms}\t{reading.cpu_ms}\t{reading.gpu_busy_ms}\t"
        f"{reading.memory_peak_bytes}\t{reading.taken_at_ms}\t{'t' if reading.final else 'f'}\t"
        f"{reading.previous_hash}\t{hash_}\t{received_at}\n"
    )


def lines_of(name: str, run: ReadingRun, hashes: Sequence[str], received_at: str) -> str:
    """As line_of, of each reading of a run. hashes: their own."""
    ends = run.last if run.final else 0
    return "".join(
        [
            f"{name}\t{number}\t{run_ms}\t{cpu_ms}\t{busy_ms}\t{memory}\t{taken_at}\t"
            f"{'t' if number == ends else 'f'}\t{previous}\t{hash_}\t{received_at}\n"
            for number, run_ms, cpu_ms, busy_ms, memory, taken_at, previous, hash_ in zip(
                range(run.first, run.last + 1), *run.columns, (run.previous_hash, *hashes[:-1]), hashes, strict=True
            )
        ]
    )


def number_in(line: bytes) -> int:
    return int(line.split(b"\t")[_SEQUENCE])


def previous_hash_in(line: bytes) -> str:
    return line.split(b"\t")[_PREVIOUS].decode()


def hash_in(line: bytes) -> str:
    return line.split(b"\t")[_HASH].decode()


def columns_of(named: Iterable[tuple[str, bytes]]) -> dict[str, list[str]]:
    """By column, the values of these rows as text. named: each row with its stream's name as it is."""
    pairs = list(named)
    by_column = zip(*(line.decode().rstrip("\n").split("\t") for _, line in pairs), strict=True)
    columns = {name: list(values) for name, values in zip(COLUMNS, by_column, strict=True)}
    return columns | {"stream_id": [name for name, _ in pairs]}
