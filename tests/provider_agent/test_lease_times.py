"""Leases count from a moment that is certainly not too late: when the question was sent, and how long it was kept."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from market.agent_api import PollAnswer
from provider_agent.attempts.attempt import EXTENSION_NS_MIN, Attempt
from provider_agent.attempts.record import Record, Stage
from provider_agent.conversation import Polled
from provider_agent.minder import layout, orders

SECOND = 1_000_000_000
SENT = 50 * SECOND


def polled(*, kept_ms: int, away_ms: int) -> Polled:
    answer = PollAnswer(
        version=1,
        server_time=datetime(2026, 1, 1, tzinfo=UTC),
        attempts=[],
        durable_through={},
        waited_ms=kept_ms,
    )
    return Polled.at(answer, SENT, SENT + away_ms * 1_000_000)


def test_leases_count_from_when_the_portal_looked() -> None:
    assert polled(kept_ms=9_000, away_ms=9_050).leases_from_ns == SENT + 9 * SECOND


def test_nobody_keeps_a_question_for_longer_than_it_is_away() -> None:
    assert polled(kept_ms=60_000, away_ms=2_000).leases_from_ns == SENT + 2 * SECOND


@pytest.mark.parametrize(("kept_ms", "early"), [(9_000, False), (8_100, False), (8_000, True), (0, True)])
def test_only_an_answer_that_was_slow_itself_makes_deadlines_early(kept_ms: int, *, early: bool) -> None:
    assert polled(kept_ms=kept_ms, away_ms=9_000).is_early(SENT + 9 * SECOND, 1.0) is early


def test_a_running_minder_hears_of_a_renewal_that_is_worth_it_and_small_ones_add_up(tmp_path: Path) -> None:
    record = Record(
        attempt_id="att_1",
        attempt_number=1,
        job_id="job_1",
        lease_id="lse_1",
        gpu_uuids=(),
        cpu_milli=100,
        memory_bytes=1,
        disk_bytes=1,
        slot=0,
        boot_id=layout.boot_id(),
        accepted_boottime_ns=SENT,
        deadline_boottime_ns=SENT + 60 * SECOND,
        stage=Stage.LAUNCHING,
    )
    attempt = Attempt(tmp_path, record, None)  # type: ignore[arg-type]
    for step in (1, 2):
        attempt.extend(SENT + 60 * SECOND + step * EXTENSION_NS_MIN // 3)
        assert orders.read_deadline(tmp_path) is None
    better_ns = SENT + 60 * SECOND + EXTENSION_NS_MIN
    attempt.extend(better_ns)
    assert orders.read_deadline(tmp_path) == better_ns
