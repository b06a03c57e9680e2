"""Money: integers, one rounding, and parts that add up."""

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.components import ComponentPrices, Components
from market.money import (
    BASIS_POINTS,
    COMPONENT_PRICE_MAX_MICROUSD,
    GIB,
    MICROUSD_MAX,
    PRICE_MAX_MICROUSD,
    format_usdc,
    parse_usdc,
    split_charge,
    usage_charge_microusd,
    window_hold_microusd,
)
from market.resources import CPU_MILLI_MAX, SIZE_MAX_BYTES

amounts = st.integers(min_value=0, max_value=10**15)
quantities = st.integers(min_value=0, max_value=64_000)
durations = st.integers(min_value=0, max_value=31 * 86_400_000)
prices = st.integers(min_value=0, max_value=10**9)


@given(amounts)
def test_an_amount_reads_back_as_it_was_written(amount: int) -> None:
    assert parse_usdc(format_usdc(amount)) == amount


@pytest.mark.parametrize(
    ("text", "amount"), [("0.42", 420_000), (1, 1_000_000), (0.1, 100_000), ("0.000001", 1), (2.5, 2_500_000)]
)
def test_usdc_in_any_spelling(text: str | float, amount: int) -> None:
    assert parse_usdc(text) == amount


@pytest.mark.parametrize(
    "text", ["-1", "0.0000001", "1e3", "", "NaN", "1,5", "0.42 USDC", "99999999999", 0.1234567, 4e-7, -0.5]
)
def test_what_is_not_an_amount_is_refused(text: str | float) -> None:
    with pytest.raises(ValueError, match="not an amount"):
        parse_usdc(text)


def test_an_amount_survives_readers_that_hold_doubles() -> None:
    assert parse_usdc("9007199254.740991") == MICROUSD_MAX == int(float(MICROUSD_MAX))
    with pytest.raises(ValueError, match="more than any amount"):
        parse_usdc("9007199254.740992")


@given(amounts, st.integers(min_value=0, max_value=10_000))
def test_the_parts_of_a_charge_add_up_and_rounding_is_at_most_one(charge: int, fee_basis_points: int) -> None:
    split = split_charge(charge, fee_basis_points)
    assert split.provider_microusd + split.fee_microusd + split.rounding_microusd == charge
    assert 0 <= split.rounding_microusd <= 1


@given(charge=amounts, discount=st.integers(0, 9_999), fee=st.integers(0, 10_000))
def test_a_discount_is_the_platforms_alone(charge: int, discount: int, fee: int) -> None:
    fee = max(fee, discount)
    split, asked = split_charge(charge, fee, discount), Fraction(charge * BASIS_POINTS, BASIS_POINTS - discount)
    assert split.provider_microusd + split.fee_microusd + split.rounding_microusd == charge
    assert min(split.provider_microusd, split.fee_microusd) >= 0 <= split.rounding_microusd <= 1
    without = asked * (BASIS_POINTS - fee) / BASIS_POINTS
    assert without - 1 < split.provider_microusd <= without


@given(quantities, prices, st.lists(durations, max_size=8))
def test_lines_of_cumulative_time_add_up_to_the_charge_of_the_whole(
    quantity: int, price: int, steps: list[int]
) -> None:
    charged = reached = 0
    for step in steps:
        reached += step
        line = usage_charge_microusd(quantity, reached, price) - charged
        assert 0 <= line <= window_hold_microusd(quantity, step, price)
        charged += line
    assert charged == usage_charge_microusd(quantity, sum(steps), price)


def test_an_hour_of_one_unit_costs_its_price() -> None:
    assert usage_charge_microusd(1000, 3_600_000, 420_001) == 420_001


@given(
    unit=st.integers(0, PRICE_MAX_MICROUSD),
    prices=st.tuples(*[st.integers(0, COMPONENT_PRICE_MAX_MICROUSD)] * 3),
    taken=st.tuples(st.integers(0, CPU_MILLI_MAX), *[st.integers(0, SIZE_MAX_BYTES)] * 2),
    quantity=st.integers(1, 64_000),
    cuts=st.lists(st.integers(0, 10**9), max_size=6),
)
def test_lines_at_a_price_of_components_add_up_to_the_charge_of_the_whole(
    unit: int, prices: tuple[int, int, int], taken: tuple[int, int, int], quantity: int, cuts: list[int]
) -> None:
    made = Components.of(unit, ComponentPrices(*prices), taken)
    cpu, memory, disk = (Fraction(much * price) for much, price in zip(taken, prices, strict=True))
    share = cpu / 1000 + (memory + disk) / GIB
    asked = made.asked_microusd(quantity)
    assert asked == math.floor(unit + share / Fraction(quantity, 1000))
    times = sorted({0, *cuts})
    charges = [usage_charge_microusd(quantity, run_ms, asked) for run_ms in times]
    lines = [after - before for before, after in itertools.pairwise(charges)]
    whole = Fraction(quantity, 1000) * Fraction(times[-1], 3_600_000) * asked
    assert sum(lines) == math.floor(whole)
    assert whole <= Fraction(times[-1], 3_600_000) * (share + unit * Fraction(quantity, 1000)), (
        "never above what is asked"
    )
