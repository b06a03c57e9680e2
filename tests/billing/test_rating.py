"""However windows cut a lease, its lines add up to the charge of the whole, and none is above its hold."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from billing.charging.rating import LATE_READINGS, Lease, Line, Meter, OpenWindow, settle
from billing.charging.windows import Rate
from market.money import usage_charge_microusd

START = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
WAIT = timedelta(seconds=60)
rates = st.builds(Rate, st.integers(1, 8_000), st.integers(0, 10**7))


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def lease(rate: Rate, *, ended: float | None = None, metered_ms: int = 0, charged: int = 0, minimum: int = 0) -> Lease:
    end = None if ended is None else at(ended)
    price = rate.price_microusd_per_unit_hour
    return Lease(rate.quantity_milli, price, 500, 0, minimum * 1000, START, end, end, metered_ms, charged)


def windows(rate: Rate, lengths: list[int]) -> list[OpenWindow]:
    ends = [sum(lengths[: number + 1]) for number in range(len(lengths))]
    return [
        OpenWindow(number, at(end), None, rate.hold_microusd(seconds))
        for number, (end, seconds) in enumerate(zip(ends, lengths, strict=True))
    ]


def charge(rate: Rate, milliseconds: int) -> int:
    return usage_charge_microusd(rate.quantity_milli, milliseconds, rate.price_microusd_per_unit_hour)


@given(
    rate=rates,
    lengths=st.lists(st.integers(1, 2000), min_size=1, max_size=8),
    late_start_ms=st.integers(0, 5_000),
    idle_ms=st.lists(st.integers(0, 3_000), min_size=8, max_size=8),
    unused=st.floats(0, 1),
)
def test_lines_captured_one_by_one_add_up_to_the_charge_of_the_whole(
    rate: Rate, lengths: list[int], late_start_ms: int, idle_ms: list[int], unused: float
) -> None:
    all_windows = windows(rate, lengths)
    metered = charged = lost_ms = 0
    lost_ms = late_start_ms
    lines: list[Line] = []
    for window, idle in zip(all_windows[:-1], idle_ms, strict=False):
        # The reading that arrives just after the window's end says how long the command has run by then.
        lost_ms += idle
        reached = window.until_at
        run_ms = max(metered, (reached - START) // timedelta(milliseconds=1) - lost_ms)
        (outcome,) = settle(
            lease(rate, metered_ms=metered, charged=charged), [window], Meter(run_ms, reached), reached, WAIT
        )
        if outcome.line is not None:
            lines.append(outcome.line)
            metered, charged = outcome.line.to_ms, charged + outcome.line.amount_microusd
    ended = sum(lengths) - int(lengths[-1] * unused)
    run_ms = max(metered, ended * 1000 - lost_ms)
    meter = Meter(run_ms, at(ended), final=True)
    for outcome in settle(
        lease(rate, ended=ended, metered_ms=metered, charged=charged), all_windows[-1:], meter, at(ended), WAIT
    ):
        lines += [outcome.line] if outcome.line else []
    assert sum(line.amount_microusd for line in lines) == charge(rate, lines[-1].to_ms)
    assert lines[-1].to_ms == max(metered, min(run_ms, ended * 1000))
    assert not any(line.capped for line in lines)
    assert [line.from_ms for line in lines] == [0, *(line.to_ms for line in lines[:-1])]


@given(rate=rates, lengths=st.lists(st.integers(1, 500), min_size=1, max_size=6), run_ms=st.integers(0, 10**7))
def test_whatever_the_node_says_no_line_is_above_its_hold_or_the_time_the_server_saw(
    rate: Rate, lengths: list[int], run_ms: int
) -> None:
    held = windows(rate, lengths)
    ended = sum(lengths) // 2
    settled = settle(lease(rate, ended=ended), held, Meter(run_ms, at(0), final=True), at(ended), WAIT)
    assert [outcome.number for outcome in settled] == [window.number for window in held]
    for outcome, window in zip(settled, held, strict=True):
        assert outcome.captured_microusd <= window.hold_microusd
        if outcome.line is not None:
            assert outcome.line.to_ms <= ended * 1000
    assert sum(outcome.captured_microusd for outcome in settled) <= charge(rate, min(run_ms, ended * 1000))


def test_a_window_of_a_live_lease_waits_for_the_reading_that_reaches_its_end() -> None:
    rate = Rate(1000, 3_600_000)
    (window,) = windows(rate, [900])
    behind, reached = Meter(880_000, at(899)), Meter(895_000, at(900))
    assert settle(lease(rate), [window], reached, at(899.9), WAIT) == []
    assert settle(lease(rate), [window], behind, at(920), WAIT) == []
    (outcome,) = settle(lease(rate), [window], reached, at(900), WAIT)
    assert outcome.captured_microusd == 895_000


def test_readings_that_do_not_come_are_waited_for_from_when_the_end_was_noticed() -> None:
    rate = Rate(1000, 3_600_000)
    (window,) = windows(rate, [900])
    meter = Meter(600_000, at(600))
    # Billing was away for ten minutes, and only then noticed that the window is over.
    noticed = OpenWindow(0, window.until_at, at(1500), window.hold_microusd)
    assert settle(lease(rate), [noticed], meter, at(1500), WAIT) == []
    (outcome,) = settle(lease(rate), [noticed], meter, at(1500) + LATE_READINGS, WAIT)
    assert outcome.captured_microusd == 600_000


def test_what_a_late_reading_brings_is_on_the_next_line() -> None:
    rate = Rate(1000, 3_600_000)
    second = OpenWindow(1, at(1800), None, rate.hold_microusd(900))
    (outcome,) = settle(
        lease(rate, metered_ms=890_000, charged=890_000), [second], Meter(1_790_000, at(1800)), at(1800), WAIT
    )
    assert outcome.captured_microusd == 900_000
    assert outcome.line is not None and not outcome.line.capped


def test_what_a_late_reading_brings_beyond_the_next_hold_is_capped_and_said_so() -> None:
    rate = Rate(1000, 3_600_000)
    second = OpenWindow(1, at(1800), None, rate.hold_microusd(900))
    (outcome,) = settle(lease(rate), [second], Meter(1_800_000, at(1800)), at(1800), WAIT)
    assert outcome.line is not None and outcome.line.capped
    assert (outcome.line.to_ms, outcome.captured_microusd) == (1_800_000, 900_000)


def test_a_lease_that_has_ended_waits_for_its_final_reading_but_not_for_ever() -> None:
    rate = Rate(1000, 3_600_000)
    held = windows(rate, [900])
    ended = lease(rate, ended=100)
    assert settle(ended, held, Meter(99_000, at(99)), at(159), WAIT) == []
    (outcome,) = settle(ended, held, Meter(99_000, at(99)), at(160), WAIT)
    assert outcome.captured_microusd == 99_000
    (outcome,) = settle(ended, held, Meter(99_500, at(99), final=True), at(100), WAIT)
    assert outcome.captured_microusd == 99_500


def test_a_lease_without_any_use_has_one_line_of_zero() -> None:
    rate = Rate(1000, 3_600_000)
    settled = settle(lease(rate, ended=0), windows(rate, [900, 900]), Meter(final=True), at(0), WAIT)
    assert [(outcome.captured_microusd, outcome.line is None) for outcome in settled] == [(0, False), (0, True)]


@given(
    rate=rates,
    minimum=st.integers(0, 600),
    lengths=st.lists(st.integers(1, 500), min_size=1, max_size=4),
    run_ms=st.integers(0, 2_000_000),
    taken=st.integers(0, 2_000_000),
)
def test_a_minimum_is_charged_once_and_never_of_a_command_that_did_not_run(
    rate: Rate, minimum: int, lengths: list[int], run_ms: int, taken: int
) -> None:
    """Whatever was captured before it ended, its first window's hold covers the minimum."""
    first = replace(rate, minimum_seconds=minimum)
    held = windows(rate, lengths)
    held[0] = replace(held[0], hold_microusd=first.hold_microusd(lengths[0]))
    run_ms = min(run_ms, sum(lengths) * 1000)
    before = min(taken, run_ms)
    ended = lease(rate, ended=sum(lengths), metered_ms=before, charged=charge(rate, before), minimum=minimum)
    settled = settle(ended, held, Meter(run_ms, at(0), final=True), at(sum(lengths)), WAIT)
    lines = [outcome.line for outcome in settled if outcome.line is not None]
    total = charge(rate, before) + sum(line.amount_microusd for line in lines)
    assert total == charge(rate, max(run_ms, minimum * 1000) if run_ms else 0)
    assert all(line.amount_microusd >= 0 and not line.capped for line in lines)


def test_a_lease_that_lives_owes_no_minimum_yet() -> None:
    rate = Rate(1000, 3_600_000)
    (window,) = windows(rate, [900])
    (outcome,) = settle(lease(rate, minimum=60), [window], Meter(5_000, at(900)), at(900), WAIT)
    assert outcome.captured_microusd == 5_000
