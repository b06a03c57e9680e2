"""Readings may be lost, doubled, late or out of order: the sum is the same, and only a node's own readings count."""

from collections.abc import Callable
from random import Random
from threading import Thread

import pytest
from books import NODE, Books, Stream
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text

from billing.metering import usage
from billing.metering.parcels import SignedReport, pack
from billing.metering.streams import STREAMS_PER_LEASE_MAX
from billing.metering.usage import AHEAD_MAX, MergeResult
from billing.tables.metering import ReadingRefusalRow, ReadingStreamRow
from infra.database import Database
from market.agent_api import Report
from market.canonical import canonical_json, tagged_hash
from market.clock import ManualClock
from market.readings import READING_TAG, Reading


def run_ms(books: Books, lease_id: str) -> int:
    rows = select(ReadingStreamRow.durable_run_ms).where(ReadingStreamRow.lease_id == lease_id)
    return sum(books.session.scalars(rows))


def changed(reading: Reading, **values: object) -> Reading:
    return reading.model_copy(update=values)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.integers(1, 15), min_size=1, max_size=3),
    seed=st.integers(0, 2**32),
    doubled=st.integers(1, 3),
    size=st.integers(2, 9),
)
def test_any_order_repetition_and_cutting_gives_the_same_sum(
    fresh_books: Callable[[], Books], lengths: list[int], seed: int, doubled: int, size: int
) -> None:
    books = fresh_books()
    books.deposit(1_000_000)
    _, placed, _ = books.run()
    streams = [Stream(placed.lease_id) for _ in lengths]
    for stream, length in zip(streams, lengths, strict=True):
        for second in range(1, length + 1):
            stream.read(second * 1000, final=second == length)
    readings = [reading for stream in streams for reading in stream.readings] * doubled
    Random(seed).shuffle(readings)
    for start in range(0, len(readings), size):
        assert not books.report(*readings[start : start + size]).refused
    assert run_ms(books, placed.lease_id) == sum(lengths) * 1000
    told = {stream.stream_id: length for stream, length in zip(streams, lengths, strict=True)}
    assert usage.durable_through(books.session, {NODE: list(told)})[NODE] == told


def test_every_reading_is_stored_repeated_or_refused(books: Books) -> None:
    """Doubled, late, overlapping, forged and foreign in one: each is counted once, and the sum is exact."""
    books.deposit(1_000_000)
    _, placed, stream = books.run()
    for second in range(1, 21):
        stream.read(second * 1000, final=second == 20)
    forged = changed(stream.readings[9], run_ms=999_000, previous_hash="f" * 64)
    thief = Stream(placed.lease_id)
    offers = [
        (NODE, stream.readings[2:6]),
        (NODE, stream.readings[:4]),
        (NODE, stream.readings[4:9] + stream.readings[4:9]),
        (NODE, [stream.readings[12], forged, stream.readings[9], stream.readings[11]]),
        ("node_B", [thief.read(1000), thief.read(2000)]),
        (NODE, stream.readings[8:]),
        (NODE, stream.readings),
    ]
    merged = [books.report(*readings, node_id=node_id) for node_id, readings in offers]
    assert sum(result.stored for result in merged) == 20
    refused = [result.refused for result in merged if result.refused]
    assert refused == [{"broken_chain": 1}, {"foreign_lease": 2}]
    sent = sum(len(readings) for _, readings in offers)
    told = sum(result.stored + result.repeated for result in merged) + 1 + 2
    assert told == sent
    assert run_ms(books, placed.lease_id) == 20_000
    assert usage.durable_through(books.session, {NODE: [stream.stream_id]})[NODE] == {stream.stream_id: 20}


def test_a_parcel_is_the_report_it_was_made_of(books: Books) -> None:
    """Names that COPY, JSON and SQL would take for something else come through both ways alike."""
    books.deposit(10_000_000)
    for name in ("tab\tline\nback\\slash", "quote\"'", "\\N", "größer\u2028", "\\."):
        _, placed, _ = books.run()
        stream = Stream(placed.lease_id, stream_id=name)
        for second in range(1, 7):
            stream.read(second * 1000, final=second == 6)
        parcelled, rest = stream.readings[:4], stream.readings[2:]
        report = Report(node_id=NODE, sent_at_ms=0, readings=[*parcelled, stream.readings[0]])
        message = SignedReport(NODE, books.now, pack(report, books.now))
        assert usage.merge(books.session, [message], books.now) == MergeResult(4, 1, {})
        assert books.report(*rest) == MergeResult(2, 2, {})
        assert run_ms(books, placed.lease_id) == 6000
    with pytest.raises(ValueError, match="a parcel of"):
        usage.merge(books.session, [SignedReport(NODE, books.now, message.body + b"x")], books.now)


def test_a_name_that_no_row_can_hold_is_refused(books: Books) -> None:
    body = books.signed(Stream("lease_A", stream_id="x").read(1)).body.replace(b'"x"', b'"x\\u0000"')
    assert usage.merge(books.session, [SignedReport(NODE, books.now, body)], books.now).refused == {"malformed": 1}


def test_a_long_replay_is_one_merge(books: Books) -> None:
    books.deposit(1_000_000)
    _, placed, stream = books.run()
    for second in range(1, 20_001):
        stream.read(second)
    parts = [stream.readings[start : start + 1000] for start in range(0, 20_000, 1000)]
    reports = [books.signed(*readings) for readings in parts]
    assert usage.merge(books.session, reports, books.now).stored == 20_000
    assert usage.merge(books.session, reports, books.now).repeated == 20_000
    assert run_ms(books, placed.lease_id) == 20_000


@given(
    name=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=40),
    number=st.integers(1, 2**53 - 1),
    counters=st.tuples(*[st.integers(0, 2**53 - 1)] * 5),
    final=st.booleans(),
)
def test_a_reading_is_hashed_over_its_canonical_json(
    name: str, number: int, counters: tuple[int, ...], final: bool
) -> None:
    names = ("run_ms", "cpu_ms", "gpu_busy_ms", "memory_peak_bytes", "taken_at_ms")
    reading = Reading(
        lease_id=name[::-1],
        stream_id=name,
        sequence=number,
        final=final,
        previous_hash="ab" * 32,
        **dict(zip(names, counters, strict=True)),  # type: ignore[arg-type]
    )
    assert reading.canonical() == canonical_json(reading.model_dump(mode="json"))
    assert reading.hash == tagged_hash(READING_TAG, reading.canonical()).hex()


def test_a_gap_stops_the_prefix_until_the_lost_reading_comes_again(books: Books) -> None:
    books.deposit(1_000_000)
    _, placed, stream = books.run()
    for second in range(1, 8):
        stream.read(second * 1000)
    first, *later = stream.readings
    lost = later.pop(2)
    books.report(first, *later)
    assert usage.durable_through(books.session, {NODE: [stream.stream_id]})[NODE] == {stream.stream_id: 3}
    assert run_ms(books, placed.lease_id) == 3000
    books.report(lost)
    assert run_ms(books, placed.lease_id) == 7000


def test_a_reading_that_breaks_the_chain_makes_room_for_the_one_that_continues_it(books: Books) -> None:
    books.deposit(1_000_000)
    _, placed, stream = books.run()
    for second in range(1, 4):
        stream.read(second * 1000)
    first, second_, third = stream.readings
    forged = changed(second_, run_ms=999_000_000, previous_hash="f" * 64)
    assert books.report(forged, third).refused == {}
    assert books.report(first).refused == {"broken_chain": 1}
    assert run_ms(books, placed.lease_id) == 1000
    assert books.report(second_).refused == {}
    assert run_ms(books, placed.lease_id) == 3000


def test_a_second_reading_under_one_number_is_refused(books: Books) -> None:
    books.deposit(1_000_000)
    _, placed, stream = books.run()
    reading = stream.read(1000)
    books.report(reading)
    other = changed(reading, run_ms=5000)
    assert books.report(other, reading).refused == {"conflicting": 2}
    assert books.report(reading, other).refused == {"conflicting": 1}
    assert run_ms(books, placed.lease_id) == 1000


def test_readings_of_leases_and_streams_of_others_are_refused_and_counted(books: Books) -> None:
    books.deposit(2_000_000)
    _, placed, stream = books.run()
    books.report(stream.read(1000))
    thief = Stream(placed.lease_id)
    assert books.report(thief.read(1000), thief.read(2000), node_id="node_B").refused == {"foreign_lease": 2}
    _, other, _ = books.run()
    hijacked = changed(stream.read(2000), lease_id=other.lease_id)
    assert books.report(hijacked).refused == {"foreign_stream": 1}
    report = books.signed(stream.readings[1])
    lying = SignedReport("node_B", report.received_at, report.body)
    assert usage.merge(books.session, [lying], books.now).refused == {"foreign_node": 1}
    garbage = SignedReport(NODE, books.now, b"{")
    assert usage.merge(books.session, [garbage], books.now).refused == {"malformed": 1}
    counts = {(row.node_id, row.cause): row.count for row in books.session.scalars(select(ReadingRefusalRow))}
    assert counts == {
        ("node_B", "foreign_lease"): 2,
        (NODE, "foreign_stream"): 1,
        ("node_B", "foreign_node"): 1,
        (NODE, "malformed"): 1,
    }
    assert run_ms(books, placed.lease_id) == 1000


def test_nothing_follows_the_final_reading(books: Books) -> None:
    books.deposit(1_000_000)
    _, placed, stream = books.run()
    books.report(stream.read(1000, final=True))
    assert books.report(stream.read(2000)).refused == {"after_final": 1}
    late = Stream(placed.lease_id)
    final, after = late.read(1000, final=True), late.read(2000)
    books.report(after)
    assert books.report(final).refused == {"broken_chain": 1}
    assert run_ms(books, placed.lease_id) == 2000


def test_counters_that_run_backwards_take_nothing_back(books: Books) -> None:
    books.deposit(1_000_000)
    _, placed, stream = books.run()
    books.report(stream.read(5000), stream.read(3000))
    assert run_ms(books, placed.lease_id) == 5000
    books.report(stream.read(6000))
    assert run_ms(books, placed.lease_id) == 6000


def test_a_stream_and_a_lease_have_bounds(books: Books) -> None:
    books.deposit(1_000_000)
    _, placed, stream = books.run()
    far = changed(stream.read(1000), sequence=AHEAD_MAX + 1)
    assert books.report(far).refused == {"too_far_ahead": 1}
    many = [Stream(placed.lease_id).read(1) for _ in range(STREAMS_PER_LEASE_MAX)]
    assert books.report(*many).refused == {"too_many_streams": 1}


def test_readings_that_are_faster_than_the_news_of_their_lease_count_once_it_comes(books: Books) -> None:
    books.deposit(1_000_000)
    terms = books.terms()
    books.open(terms)
    with books.session.begin_nested() as undone:
        lease_id = books.place(terms).lease_id
        undone.rollback()
    stream, thief = Stream(lease_id), Stream(lease_id)
    books.report(stream.read(1000), stream.read(2000))
    books.report(thief.read(900_000), node_id="node_B")
    assert run_ms(books, lease_id) == 0
    placed = books.place(terms, lease_id=lease_id)
    assert run_ms(books, placed.lease_id) == 2000
    refusals = books.session.scalars(select(ReadingRefusalRow)).all()
    assert [(row.node_id, row.cause, row.count) for row in refusals] == [("node_B", "foreign_lease", 1)]


def test_a_merge_and_the_news_of_its_lease_at_the_same_time_lose_nothing(
    database: Database, clock: ManualClock
) -> None:
    with database.transaction() as session:
        books = Books(session, clock)
        books.deposit(1_000_000)
        terms = books.terms()
        books.open(terms)
    lease_id, bound = "lease_race", []

    def bind() -> None:
        with database.transaction() as session:
            bound.append(Books(session, clock).place(terms, lease_id=lease_id))

    with database.transaction() as session:
        stream = Stream(lease_id)
        Books(session, clock).report(stream.read(1000), stream.read(2000, final=True))
        thread = Thread(target=bind)
        thread.start()
        waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        while thread.is_alive() and not session.scalar(waiting):
            pass
    thread.join(20)
    with database.read() as session:
        assert bound and run_ms(Books(session, clock), lease_id) == 2000


@pytest.mark.parametrize("finished", [True, False])
def test_a_node_is_told_what_is_durable_of_its_own_streams_that_it_asks_about(books: Books, finished: bool) -> None:
    books.deposit(1_000_000)
    _, _, stream = books.run()
    books.report(stream.read(1000, final=finished))
    asked = [stream.stream_id, "a stream of nobody"]
    assert usage.durable_through(books.session, {NODE: asked, "node_B": asked}) == {
        NODE: {stream.stream_id: 1},
        "node_B": {},
    }
    assert usage.durable_through(books.session, {NODE: []}) == {NODE: {}}
