"""Logs and states arrive whole, in order and once, however the connection breaks."""

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from served_market import Answer, Seen, ServedMarket, event, problem
from views import JOB_ID, ended_job, job

from gridbay.client import Gridbay, LogPosition, WaitedTooLong
from market.customer_api import LogLine
from market.errors import NotFound, Unavailable
from market.states import JobState, Reason

LOGS = f"GET /v1/jobs/{JOB_ID}/logs"
EVENTS = f"GET /v1/jobs/{JOB_ID}/events"


@pytest.fixture
def sdk(market: ServedMarket) -> Iterator[Gridbay]:
    with Gridbay(market.url, "gbc_test", patience_seconds=5) as sdk:
        yield sdk


def piece(attempt: int, offset: int, text: str) -> bytes:
    line = LogLine(attempt_number=attempt, offset=offset, text=text)
    return event("log", line, f"{attempt}:{offset + len(text.encode())}")


class BreakingLog:
    """Attempts' logs, served from Last-Event-ID in pieces of `size` bytes; each connection breaks after so many.

    overlap: how many bytes before the place asked for it begins, as a careless server might.
    """

    def __init__(self, attempts: list[bytes], size: int, breaks: list[int], overlap: int) -> None:
        self._attempts, self._size, self._breaks, self._overlap = attempts, size, breaks, overlap

    def __call__(self, seen: Seen) -> Answer:
        place = LogPosition.parse(seen.headers.get("last-event-id", "1:0"))
        frames = [
            frame
            for number in range(place.attempt_number, len(self._attempts) + 1)
            for frame in self._of(number, place)
        ]
        frames.append(event("end", ended_job()))
        if self._breaks:
            return Answer(events=frames[: self._breaks.pop()], drop=True)
        return Answer(events=frames)

    def _of(self, number: int, place: LogPosition) -> Iterator[bytes]:
        log = self._attempts[number - 1]
        start = max(0, place.offset - self._overlap) if number == place.attempt_number else 0
        for offset in range(start, len(log), self._size):
            yield piece(number, offset, log[offset : offset + self._size].decode())


@settings(max_examples=25, deadline=None)
@given(
    attempts=st.lists(st.text("ab\n", max_size=60).map(str.encode), min_size=1, max_size=3),
    size=st.integers(1, 20),
    breaks=st.lists(st.integers(1, 8), max_size=3),
    overlap=st.integers(0, 5),
)
def test_no_byte_is_lost_or_doubled(attempts: list[bytes], size: int, breaks: list[int], overlap: int) -> None:
    served = ServedMarket()
    try:
        served.on(LOGS, BreakingLog(attempts, size, breaks, overlap))
        with Gridbay(served.url, "gbc_test") as sdk:
            got = [b""] * len(attempts)
            for line in sdk.logs(JOB_ID):
                assert line.offset == len(got[line.attempt_number - 1]), "in order, without a gap"
                got[line.attempt_number - 1] += line.text.encode()
        assert got == attempts
    finally:
        served.close()


def test_what_one_has_already_is_not_asked_for(market: ServedMarket, sdk: Gridbay) -> None:
    market.on(LOGS, BreakingLog([b"one\ntwo\n"], 4, [], 0))
    assert [line.text for line in sdk.logs(JOB_ID, after=LogPosition(1, 4))] == ["two\n"]
    assert market.seen[0].headers["last-event-id"] == "1:4"


def test_without_following_a_log_ends_where_it_is(market: ServedMarket, sdk: Gridbay) -> None:
    market.on(LOGS, Answer(events=[piece(1, 0, "so far\n")]))
    assert [line.text for line in sdk.logs(JOB_ID, follow=False)] == ["so far\n"]
    assert market.seen[0].query == {"follow": "false"}


def test_a_refused_stream_is_a_refusal(market: ServedMarket, sdk: Gridbay) -> None:
    market.on(LOGS, problem(404, "not_found", "no such job"))
    with pytest.raises(NotFound):
        next(sdk.logs(JOB_ID))
    market.on(LOGS, Answer(b"<html>", headers={"Content-Type": "text/html"}))
    with pytest.raises(Unavailable, match="does not answer with events"):
        next(sdk.logs(JOB_ID))


def test_each_state_comes_once_until_the_bill_is_written(market: ServedMarket, sdk: Gridbay) -> None:
    waiting, running = job(), job(JobState.RUNNING, Reason.RUNNING, version=2)
    ended, billed = ended_job(billed=False), ended_job()
    market.on(EVENTS, Answer(events=[event("job", view) for view in (running, ended, billed)]))
    market.fail_next(EVENTS, Answer(events=[event("job", waiting), event("job", running)], drop=True))
    assert list(sdk.events(JOB_ID)) == [waiting, running, ended, billed]


def test_waiting_ends_with_the_bill_or_with_the_state(market: ServedMarket, sdk: Gridbay) -> None:
    def told_once(seen: Seen) -> Answer:
        return Answer(events=[event("job", ended_job(3, billed=seen.query["once"] == "billed"))])

    market.on(EVENTS, told_once)
    assert sdk.wait(JOB_ID).billed
    assert not sdk.wait(JOB_ID, billed=False).billed
    market.fail_next(EVENTS, Answer(events=[]))
    assert sdk.wait(JOB_ID).billed, "a market that stops ends its streams in order"


@pytest.mark.parametrize("stays_open", [True, False])
def test_waiting_has_a_limit(market: ServedMarket, sdk: Gridbay, stays_open: bool) -> None:
    over = threading.Event()

    def events() -> Iterator[bytes]:
        yield event("job", job())
        over.wait(20 if stays_open else 0)

    market.on(EVENTS, lambda _: Answer(events=events()))
    started = time.monotonic()
    with pytest.raises(WaitedTooLong, match="it goes on"):
        sdk.wait(JOB_ID, timeout_seconds=0.3)
    over.set()
    assert time.monotonic() - started < 5
