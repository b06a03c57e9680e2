"""Leases count from a moment that is certainly not too late: when the question was sent, and how long it was kept."""

from datetime import UTC, datetime

import pytest

from market.agent_api import PollAnswer
from provider_agent.conversation import Polled

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
