"""Telemetry by the minute: true to its samples, and bounded whatever the portal does."""

from hypothesis import given
from hypothesis import strategies as st

from market.health import MINUTES_KEPT_MAX
from provider_agent.gpus.readings import GpuReading, Look, Pulse, Trouble
from provider_agent.health.minutes import Minutes

UUID = "GPU-00000000"


def look(*pulses: Pulse) -> Look:
    return Look(tuple(GpuReading(f"GPU-0000000{index}", index, pulse) for index, pulse in enumerate(pulses)))


@given(st.lists(st.integers(0, 100), min_size=60, max_size=60))
def test_a_minute_has_the_least_the_mean_and_the_most_of_its_samples(busy: list[int]) -> None:
    minutes = Minutes()
    for second, percent in enumerate([*busy, 0]):
        minutes.take(look(Pulse(busy_percent=percent, energy_millijoules=second * 300)), float(second))
    (minute,) = minutes.oldest(70.0)
    assert minute.busy_percent == (min(busy), sum(busy) // 60, max(busy))
    assert (minute.samples, minute.energy_millijoules, minute.ago_seconds) == (60, 59 * 300, 10.0)
    assert minute.temperature_c is None, "what nobody told is not made up"


def test_each_minute_is_told_once_in_order_and_a_lost_answer_repeats_it() -> None:
    minutes = Minutes()
    for second in range(181):
        minutes.take(look(Pulse(temperature_c=second // 60), Pulse(temperature_c=50)), float(second))
    first = minutes.oldest(200.0)
    assert minutes.oldest(200.0) == first
    minutes.told(first)
    second_minute = minutes.oldest(200.0)
    assert [each.temperature_c for each in (*first, *second_minute)] == [(0, 0, 0), (50,) * 3, (1, 1, 1), (50,) * 3]


def test_no_more_is_kept_than_a_few_minutes() -> None:
    minutes = Minutes()
    for second in range(60 * 60):
        minutes.take(look(Pulse(temperature_c=40)), float(second))
    told = 0
    while minute := minutes.oldest(3600.0):
        minutes.told(minute)
        told += 1
    assert told == MINUTES_KEPT_MAX


def test_a_counter_that_begins_anew_and_a_card_that_is_lost_do_no_harm() -> None:
    minutes = Minutes()
    for second in range(61):
        energy = 5000 + second if second < 30 else second
        minutes.take(look(Pulse(energy_millijoules=energy)), float(second))
    (minute,) = minutes.oldest(61.0)
    assert minute.energy_millijoules == 29
    lost = Look((GpuReading(UUID, 0, trouble=Trouble.LOST),))
    other = Minutes()
    for second in range(61):
        other.take(lost, float(second))
    assert other.oldest(61.0) == []
