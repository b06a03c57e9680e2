"""No reading of a stream is changed, dropped or moved unseen: the chain ends there; and no byte of a signed report."""

from collections.abc import Callable
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
from books import NODE, Stream
from soak_size import size

from billing.metering.parcels import pack
from billing.metering.prefix import Fit, Prefix
from billing.metering.runs import runs_of
from market import reading_runs
from market.agent_api import Report
from market.canonical import canonical_json
from market.readings import Reading
from market.signing import REPORT_TAG, NodeKey, verify

TAMPERS = size(500, 10_000)
READINGS = 12
AT = datetime(2036, 11, 21, 12, tzinfo=UTC)
Readings = list[dict[str, Any]]


def taken() -> Readings:
    stream = Stream("lease_A", "stream_A")
    for number in range(READINGS):
        stream.read(1000 * number, final=number == READINGS - 1)
    return [reading.model_dump() for reading in stream.readings]


def rated(readings: Readings) -> int:
    """How far the prefix of the stream gets with these readings, in their order of numbers: by runs, as one by one."""
    told = [Reading.model_validate(item) for item in readings]
    one_by_one = Report(node_id=NODE, sent_at_ms=0, readings=told)
    by_runs = Report(node_id=NODE, sent_at_ms=0, runs=list(reading_runs.runs_of(told)))
    assert pack(by_runs, AT) == pack(one_by_one, AT)
    prefix = Prefix()
    for run in sorted(runs_of(by_runs, AT), key=lambda item: item.first):
        if prefix.take(run) is not Fit.NEXT:
            break
    return prefix.sequence


def change(readings: Readings, random: Random) -> None:
    """One value of any but the last, whose hash nothing names yet: that one the signature alone keeps."""
    reading = random.choice(readings[:-1])
    name = random.choice(["run_ms", "cpu_ms", "gpu_busy_ms", "memory_peak_bytes", "taken_at_ms", "previous_hash"])
    if name == "previous_hash":
        at = random.randrange(64)
        other = random.choice([digit for digit in "0123456789abcdef" if digit != reading[name][at]])
        reading[name] = reading[name][:at] + other + reading[name][at + 1 :]
    else:
        reading[name] += random.choice([1, 1000, 2**40])


def drop(readings: Readings, random: Random) -> None:
    readings.pop(random.randrange(READINGS - 1))


def drop_and_renumber(readings: Readings, random: Random) -> None:
    drop(readings, random)
    for number, reading in enumerate(readings, start=1):
        reading["sequence"] = number


def swap_numbers(readings: Readings, random: Random) -> None:
    one, other = random.sample(readings, 2)
    one["sequence"], other["sequence"] = other["sequence"], one["sequence"]


def end_early(readings: Readings, random: Random) -> None:
    random.choice(readings[:-1])["final"] = True


WAYS: list[Callable[[Readings, Random], None]] = [change, drop, drop_and_renumber, swap_numbers, end_early]


def test_the_whole_chain_is_rated() -> None:
    assert rated(taken()) == READINGS


@pytest.mark.parametrize("seed", range(0, TAMPERS, 100))
def test_a_chain_ends_where_it_was_tampered_with(seed: int) -> None:
    for number in range(seed, seed + 100):
        random, readings = Random(number), taken()
        WAYS[number % len(WAYS)](readings, random)
        assert rated(readings) < READINGS, (number, readings)


@pytest.mark.parametrize("seed", range(0, TAMPERS, 100))
def test_no_byte_of_a_signed_report_can_be_changed(seed: int) -> None:
    key = NodeKey(bytes(32))
    runs = [run.model_dump() for run in reading_runs.runs_of(map(Reading.model_validate, taken()))]
    body = canonical_json({"node_id": NODE, "sent_at_ms": 0, "statuses": [], "runs": runs})
    signature = key.sign(REPORT_TAG, body)
    assert verify(key.public_hex, REPORT_TAG, body, signature)
    for number in range(seed, seed + 100):
        at = Random(number).randrange(len(body))
        changed = body[:at] + bytes([body[at] ^ 1 << number % 8]) + body[at + 1 :]
        assert not verify(key.public_hex, REPORT_TAG, changed, signature)
