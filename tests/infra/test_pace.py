"""A pace: what comes alone waits for nothing, what comes much gathers, and what takes long keeps nobody waiting."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.pace import SHARE, Pace

MOST = 0.06


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _after_a_piece(seconds: float) -> tuple[Pace, Time]:
    clock = Time()
    pace = Pace(MOST, clock)
    assert pace.wait_seconds == 0, "the first one waits for nothing"
    with pace.piece():
        clock.now += seconds
    return pace, clock


def test_a_short_piece_keeps_the_next_one_waiting_for_its_share() -> None:
    pace, clock = _after_a_piece(0.01)
    assert pace.wait_seconds == pytest.approx(0.01 * (SHARE - 1))
    clock.now += 0.03
    assert pace.wait_seconds == pytest.approx(0)


@given(seconds=st.floats(0, 10))
def test_nobody_waits_longer_than_the_most_from_the_beginning_on(seconds: float) -> None:
    pace, _ = _after_a_piece(seconds)
    assert 0 <= pace.wait_seconds <= max(0.0, MOST - seconds) + 1e-9


def test_one_that_fails_counts_as_well() -> None:
    clock = Time()
    pace = Pace(MOST, clock)
    with pytest.raises(ValueError, match="no"), pace.piece():
        clock.now += 0.01
        raise ValueError("no")
    assert pace.wait_seconds > 0
