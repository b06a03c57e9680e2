"""Explanations are true: their counts add up, and every change that is told lets offers match when it is made."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from placement_markets import gpu_offer, markets, node, request, request_lists

from market.resources import GpuRequest
from scheduler.placement.books import Books
from scheduler.placement.choose import choose
from scheduler.placement.explain import CHANGES_MAX, explain
from scheduler.placement.prices import paid
from scheduler.placement.requests import Request, Terms
from scheduler.placement.rules import RULES, STANDING_RULES
from scheduler.placement.sieve import sieve
from scheduler.placement.snapshot import Snapshot


@settings(max_examples=200, deadline=None)
@given(markets(), request_lists(), st.sampled_from([RULES, STANDING_RULES]))
def test_counts_add_up_and_every_change_matches_when_it_is_made(
    market: Snapshot, asked: list[Request], rules: tuple[object, ...]
) -> None:
    books = Books(market)
    for one in asked:
        told = explain(books, one, rules)  # type: ignore[arg-type]
        assert told.matching + sum(told.removed.values()) == told.offers == len(market.offers)
        assert len(told.changes) <= CHANGES_MAX
        assert not (told.matching and told.changes)
        for change in told.changes:
            assert np.count_nonzero(sieve(books, change.request, rules).suits) == change.offers > 0  # type: ignore[arg-type]
            assert all(was != instead for _, was, instead in change.parts)
            assert change.request.job_id == one.job_id
            if rules is RULES:
                assert choose(market, [change.request], "seed").decisions


@settings(max_examples=100, deadline=None)
@given(markets(), st.integers(0, 3))
def test_a_request_that_one_higher_price_would_place_is_told_the_lowest_such(market: Snapshot, gpus: int) -> None:
    free = request("any", gpus)
    suits = sieve(Books(market), free).suits
    told = explain(Books(market), request("poor", gpus, price_limit_microusd_per_unit_hour=0))
    prices = [change.request.price_limit_microusd_per_unit_hour for change in told.changes if _is_price(change.parts)]
    assert prices == ([int(paid(market, free)[suits].min())] if suits.any() else [])


def _is_price(parts: tuple[tuple[str, str, str], ...]) -> bool:
    return [field for field, _, _ in parts] == ["max_price"]


def test_it_says_so_in_words() -> None:
    hosts = [node(f"n{at}", region="eu", tier=1, labels=frozenset({"ssd"})) for at in range(4)]
    prices = (420_000, 420_000, 420_000, 900_000)
    offers = [gpu_offer(f"n{at}", (at,), price) for at, price in enumerate(prices)]
    books = Books(Snapshot(hosts, offers))

    def told(**changes: object) -> list[str]:
        asked = request("job", 1, **{"price_limit_microusd_per_unit_hour": 900_000, **changes})
        return [str(change) for change in explain(books, asked).changes]

    assert told() == []
    assert told(price_limit_microusd_per_unit_hour=400_000) == ["max_price 0.42 instead of 0.40: 3 offers"]
    assert told(cpu_milli=9000) == ["cpu 8 instead of 9: 4 offers"]
    assert told(gpu=GpuRequest(count=3)) == ["gpu count 1 instead of 3: 4 offers"]
    assert told(gpu=GpuRequest(count=1, model="B200")) == ["gpu model NVIDIA H100 instead of B200: 4 offers"]
    assert told(gpu=GpuRequest(count=1, mig="1g.10gb")) == ["gpu profile none instead of 1g.10gb: 4 offers"]
    assert told(terms=Terms(regions=frozenset({"us"}))) == ["region eu, us instead of us: 4 offers"]
    assert told(terms=Terms(tier_min=2)) == ["verified tier 1 instead of 2: 4 offers"]
    assert told(terms=Terms(labels=frozenset({"ssd", "hdd"}))) == ["labels ssd instead of hdd, ssd: 4 offers"]
    assert told(price_limit_microusd_per_unit_hour=400_000, terms=Terms(tier_min=2)) == [
        "verified tier 1 instead of 2 and max_price 0.42 instead of 0.40: 3 offers"
    ]
    assert str(explain(books, request("job", 1, cpu_milli=9000))) == (
        "of 4 offers: 4 with too few CPUs; would match: cpu 8 instead of 9: 4 offers"
    )


def test_what_no_customer_can_change_is_not_told_as_a_change() -> None:
    hosts = [node("a", online=False), node("b", quarantined=True), node("c", simulated=True)]
    market = Snapshot(hosts, [gpu_offer(host.node_id, (at,)) for at, host in enumerate(hosts)])
    told = explain(Books(market), request("job", 1))
    assert (dict(told.removed), told.changes) == ({"simulated": 1, "quarantined": 1, "online": 1}, ())
