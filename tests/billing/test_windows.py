"""A window is as long as money, limits and the setting allow, and its hold covers what it can cost."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from billing.charging.windows import PARTIAL_SECONDS_MIN, RENEW_BEFORE, Funded, Limits, Rate, next_window, renewal
from infra.settings import Settings
from market.money import usage_charge_microusd
from market.states import Reason

rates = st.builds(Rate, st.integers(1, 64_000), st.integers(0, 10**8), st.sampled_from([0, 1, 60, 600]))


@given(rate=rates, amount=st.integers(0, 10**12), longest=st.integers(1, 10**6))
def test_seconds_for_is_the_longest_window_that_an_amount_covers(rate: Rate, amount: int, longest: int) -> None:
    seconds = rate.seconds_for(amount, longest)
    assert seconds == 0 or rate.hold_microusd(seconds) <= amount
    assert seconds == longest or rate.hold_microusd(seconds + 1) > amount


@given(rate=rates, seconds=st.integers(1, 10**5), before=st.integers(0, 10**9))
def test_no_stretch_of_a_window_charges_more_than_its_hold(rate: Rate, seconds: int, before: int) -> None:
    def charge(milliseconds: int) -> int:
        return usage_charge_microusd(rate.quantity_milli, milliseconds, rate.price_microusd_per_unit_hour)

    assert charge(before + seconds * 1000) - charge(before) <= rate.hold_microusd(seconds)


@given(
    rate=rates,
    limits=st.builds(
        Limits, st.integers(1, 900), st.integers(-5, 5000), st.none() | st.integers(0, 10**7), st.integers(0, 10**7)
    ),
    last_chance=st.booleans(),
)
def test_no_window_is_beyond_any_limit(rate: Rate, limits: Limits, last_chance: bool) -> None:
    window = next_window(rate, limits, last_chance=last_chance)
    if isinstance(window, Funded):
        assert 1 <= window.seconds <= min(limits.window_seconds, limits.remaining_seconds)
        assert window.amount_microusd == rate.hold_microusd(window.seconds) <= limits.available_microusd
        assert limits.budget_microusd is None or window.amount_microusd <= limits.budget_microusd
    elif window is Reason.STOPPED_MAX_DURATION:
        assert limits.remaining_seconds <= 0
    elif window is Reason.STOPPED_BUDGET_EXHAUSTED:
        assert limits.budget_microusd is not None and rate.hold_microusd(1) > limits.budget_microusd
    else:
        assert window is Reason.STOPPED_BALANCE_EXHAUSTED


def test_a_balance_that_pays_for_no_whole_window_gives_a_shorter_one_at_the_last_chance() -> None:
    rate = Rate(1000, 3_600_000)
    limits = Limits(900, 10_000, None, 1000 * PARTIAL_SECONDS_MIN)
    assert next_window(rate, limits) is Reason.STOPPED_BALANCE_EXHAUSTED
    assert next_window(rate, limits, last_chance=True) == Funded(PARTIAL_SECONDS_MIN, 1000 * PARTIAL_SECONDS_MIN)


def test_a_window_is_renewed_early_and_never_later_than_a_minute_before_its_end() -> None:
    start = datetime(2026, 11, 21, tzinfo=UTC)
    assert renewal(start, start + timedelta(minutes=15)) == start + timedelta(minutes=3)
    assert renewal(start, start + timedelta(seconds=70)) == start + timedelta(seconds=70) - RENEW_BEFORE


@given(st.integers(min_value=0, max_value=10_000))
def test_at_any_moment_a_lease_is_funded_for_ten_minutes_and_two_to_renew_it(elapsed_seconds: int) -> None:
    """Of windows that the default setting makes, renewed on time."""
    start, window = datetime(2026, 11, 21, tzinfo=UTC), timedelta(seconds=Settings().window_seconds)
    now, from_at = start + timedelta(seconds=elapsed_seconds), start
    while renewal(from_at, from_at + window) < now:
        from_at += window
    assert from_at + window - now >= timedelta(minutes=12)
