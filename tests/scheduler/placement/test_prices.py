"""The all-in price: what a job takes beside its units is in the one price that is compared, promised and frozen."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from placement_markets import A_BYTE, MODELS, asks_all_in, gpu_offer, markets, node, request, request_lists

from market.components import ComponentPrices, Components
from market.money import COMPONENT_PRICE_MAX_MICROUSD, PRICE_MAX_MICROUSD
from market.resources import CPU_MILLI_MAX, SIZE_MAX_BYTES
from scheduler.placement import prices
from scheduler.placement.choose import choose
from scheduler.placement.engine import Engine
from scheduler.placement.reclaiming import SpotWork
from scheduler.placement.requests import Request, Within
from scheduler.placement.snapshot import Snapshot

component = st.integers(0, COMPONENT_PRICE_MAX_MICROUSD)
components = st.builds(ComponentPrices, component, component, component)
asking = st.builds(
    lambda gpus, milli, cpu, memory, disk, less: request(
        "job",
        gpus,
        gpu_milli=milli if gpus == 1 else 1000,
        shares_with="org_a",
        cpu_milli=cpu,
        memory_bytes=memory,
        disk_bytes=disk,
        discount_basis_points=less,
    ),
    st.integers(0, 64),
    st.integers(1, 999),
    st.integers(1, CPU_MILLI_MAX),
    st.integers(1, SIZE_MAX_BYTES),
    st.integers(1, SIZE_MAX_BYTES),
    st.integers(0, 9_999),
)


LARGEST = {"cpu_milli": 1, "memory_bytes": SIZE_MAX_BYTES, "disk_bytes": SIZE_MAX_BYTES}
DEAREST = ComponentPrices(*[COMPONENT_PRICE_MAX_MICROUSD] * 3)


@given(asking, components, st.integers(0, PRICE_MAX_MICROUSD))
@example(request("job", **LARGEST, discount_basis_points=1), DEAREST, PRICE_MAX_MICROUSD)
def test_it_is_the_exact_price_rounded_down_once_and_then_discounted(
    asked: Request, beside: ComponentPrices, price: int
) -> None:
    offer = gpu_offer("node", (1,), price, components=beside)
    market = Snapshot([node("node")], [offer])
    exact = asks_all_in(asked, offer)
    assert prices.asked(market, asked).tolist() == [prices.asked_by(offer, asked)] == [exact]
    left = Fraction(exact * (10_000 - asked.discount_basis_points), 10_000)
    assert prices.paid(market, asked).tolist() == [left.numerator // left.denominator]
    made = prices.made_of(offer, asked)
    if made is None:
        assert exact == price
    else:
        assert made.asked_microusd(asked.quantity_milli) == exact
        assert made.price_microusd(asked.quantity_milli, asked.discount_basis_points) == prices.paid(market, asked)[0]


@settings(deadline=None)
@given(markets(), request_lists(), st.integers(0, 5_000))
def test_nobody_pays_more_than_its_limit_and_what_is_paid_follows_from_what_it_was_made_of(
    market: Snapshot, wanted: list[Request], less: int
) -> None:
    wanted = [replace(one, discount_basis_points=less) for one in wanted]
    for one in choose(market, wanted, "seed").decisions:
        paid, limit = one.price_microusd_per_unit_hour, one.request.price_limit_microusd_per_unit_hour
        assert limit is None or paid <= limit
        made = prices.made_of(one.offer, one.request)
        if made is not None and not one.node.simulated:
            assert paid == made.price_microusd(one.request.quantity_milli, less)


@given(asking, components, st.integers(1, 8))
def test_a_gang_on_one_node_pays_what_each_of_its_members_would(
    asked: Request, beside: ComponentPrices, members: int
) -> None:
    if asked.gpu_milli < 1000:
        return
    market = Snapshot([node("node")], [gpu_offer("node", (1,), components=beside)])
    whole = replace(asked, members=members, within=Within.NODE).together
    assert prices.paid(market, whole).tolist() == prices.paid(market, asked).tolist()


def test_the_cheapest_is_the_one_that_is_cheapest_all_in() -> None:
    cheap = gpu_offer("a", (1,), 100, components=ComponentPrices(memory_microusd_per_gib_hour=A_BYTE))
    plain = gpu_offer("b", (2,), 105)
    market = Snapshot([node("a"), node("b")], [cheap, plain])
    for memory, offer in ((4, cheap), (6, plain)):
        (decision,) = choose(market, [request("job", 1, memory_bytes=memory)], "seed").decisions
        assert decision.offer is offer
        assert decision.price_microusd_per_unit_hour == min(100 + memory, 105)


def test_a_limit_is_of_the_price_all_in() -> None:
    offer = gpu_offer("a", (1,), 100, components=ComponentPrices(memory_microusd_per_gib_hour=A_BYTE))
    market = Snapshot([node("a")], [offer])
    poor = request("job", 1, memory_bytes=4, price_limit_microusd_per_unit_hour=103)
    assert choose(market, [poor], "seed").unplaced[0].removed == {"price": 1}
    assert choose(market, [replace(poor, price_limit_microusd_per_unit_hour=104)], "seed").decisions


def test_a_part_of_a_gpu_pays_for_its_memory_by_the_thousandths_that_it_has() -> None:
    offer = gpu_offer("a", (1,), 100, components=ComponentPrices(memory_microusd_per_gib_hour=A_BYTE))
    market = Snapshot([node("a")], [offer])
    half = request("job", 1, gpu_milli=500, shares_with="org_a", memory_bytes=3)
    assert prices.paid(market, half).tolist() == [106], "3 an hour for half a GPU are 6 for a whole one"


def test_where_nobody_asks_for_components_the_prices_are_the_snapshots_own() -> None:
    market = Snapshot([node("a")], [gpu_offer("a", (1,), 100, components=None)])
    assert np.shares_memory(prices.paid(market, request("job", 1)), market.price)


def test_what_adds_nothing_is_not_told() -> None:
    offer = gpu_offer("a", (1,), 100, components=ComponentPrices(5, 0, 7))
    made = prices.made_of(offer, request("job", 1, cpu_milli=2000, disk_bytes=0))
    assert made == Components(unit_microusd_per_hour=100, cpu_milli=2000, cpu_microusd_per_hour=5)
    assert prices.made_of(offer, request("job", 1, cpu_milli=0, disk_bytes=0)) is None


@pytest.mark.parametrize(("bid", "paid"), [(104, 104), (200, 110)])
def test_a_spot_job_pays_its_bid_or_what_is_asked_all_in(bid: int, paid: int) -> None:
    offer = gpu_offer("a", (1,), 100, components=ComponentPrices(cpu_microusd_per_hour=10))
    market = Snapshot([node("a")], [offer])
    asked = request("job", 1, spot=True, price_limit_microusd_per_unit_hour=bid)
    (decision,) = choose(market, [asked], "seed").decisions
    assert decision.price_microusd_per_unit_hour == paid
    low = replace(asked, price_limit_microusd_per_unit_hour=54)
    assert choose(market, [low], "seed").unplaced[0].removed == {"spot_floor": 1}, "half of 110 is the floor"


def test_room_is_made_where_it_is_cheapest_all_in() -> None:
    beside = ComponentPrices(memory_microusd_per_gib_hour=10 * A_BYTE)
    offers = [gpu_offer("a", (), 100, gpu_count=1, components=beside), gpu_offer("b", (), 105, gpu_count=1)]
    engine = Engine()
    asked = request("job", 1)
    left = engine.choose(Snapshot([node("a"), node("b")], offers), [asked], "seed").unplaced
    works = [SpotWork(f"att_{at}", f"spot_{at}", at, 50, MODELS[0], 1, 0, 0, 0, 0) for at in "ab"]
    (found,) = engine.reclaim(left, works)
    assert found.work.node_id == "b"


@pytest.mark.parametrize(("bid", "told"), [(104, 104), (110, 0), (200, 0)])
def test_a_bid_is_told_where_it_is_what_is_paid(bid: int, told: int) -> None:
    offer = gpu_offer("a", (1,), 100, components=ComponentPrices(cpu_microusd_per_hour=10))
    asked = request("job", 1, cpu_milli=1000, spot=True, price_limit_microusd_per_unit_hour=bid)
    made = prices.made_of(offer, asked)
    assert made is not None and made.bid_microusd_per_unit_hour == told
    assert made.price_microusd(1000, 0) == min(110, bid)


def test_of_what_costs_nothing_no_price_is_told() -> None:
    """A bid of 0 on a market that takes one would read as no bid, and the price as another one."""
    offer = gpu_offer("a", (1,), 100, components=ComponentPrices(cpu_microusd_per_hour=10))
    free = request("job", 1, cpu_milli=1000, spot=True, price_limit_microusd_per_unit_hour=0)
    assert prices.made_of(offer, free) is None
