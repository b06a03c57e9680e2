"""The registry of rules: each a file and a line, and each removes what it says."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from placement_markets import gpu_offer, markets, node, request, request_lists, suits

import scheduler.placement.rules
from market.resources import GpuRequest
from scheduler.placement.books import Books
from scheduler.placement.choose import choose
from scheduler.placement.requests import Request, Terms
from scheduler.placement.rules import NAMED, RULES
from scheduler.placement.sieve import sieve
from scheduler.placement.snapshot import Snapshot

SOUND = node("n", region="eu", tier=1, driver=(550, 54), cuda=(12, 4), network_mbit=1000, labels=frozenset({"ssd"}))
OFFER = gpu_offer("n", (1, 2), compute_capability=(9, 0), nvlink=True)
BID: dict[str, object] = {"spot": True, "price_limit_microusd_per_unit_hour": 50}
BROKEN: list[tuple[str, dict[str, object], dict[str, object], dict[str, object]]] = [
    # rule, what is asked otherwise, the node otherwise, the offer otherwise
    ("unit", {"unit": "cpu", "gpu": None}, {}, {}),
    ("simulated", {}, {"simulated": True}, {}),
    ("gpu_model", {"gpu": GpuRequest(count=1, model="A10")}, {}, {}),
    ("gpu_memory", {"gpu": GpuRequest(count=1, memory_min_bytes=81)}, {}, {}),
    ("mig", {}, {}, {"mig": "1g.10gb"}),
    ("mig", {"gpu": GpuRequest(count=1, mig="1g.10gb")}, {}, {}),
    ("gpu_count", {"gpu": GpuRequest(count=3)}, {}, {}),
    ("compute_capability", {"terms": Terms(compute_capability_min=(10, 0))}, {}, {}),
    ("compute_capability", {"terms": Terms(compute_capability_min=(1, 0))}, {}, {"compute_capability": ()}),
    ("nvlink", {"terms": Terms(nvlink=True)}, {}, {"nvlink": False}),
    ("pcie", {"terms": Terms(pcie_mb_min=20_000)}, {}, {"pcie_mb": 19_000}),
    ("cpu", {"cpu_milli": 8001}, {}, {}),
    ("memory", {"memory_bytes": 65}, {}, {}),
    ("disk", {"disk_bytes": 65}, {}, {}),
    ("network", {"terms": Terms(network_mbit_min=1001)}, {}, {}),
    ("driver", {"terms": Terms(driver_min=(550, 54, 15))}, {}, {}),
    ("cuda", {"terms": Terms(cuda_min=(12, 10))}, {}, {}),
    ("region", {"terms": Terms(regions=frozenset({"us"}))}, {}, {}),
    ("provider", {"terms": Terms(providers=frozenset({"prv_b"}))}, {}, {}),
    ("provider", {"terms": Terms(providers_denied=frozenset({"prv_a"}))}, {}, {}),
    ("tier", {"terms": Terms(tier_min=2)}, {}, {}),
    ("reliability", {"terms": Terms(reliability_milli_min=999)}, {"reliability_milli": 998}, {}),
    ("labels", {"terms": Terms(labels=frozenset({"ssd", "x"}))}, {}, {}),
    ("taints", {"terms": Terms(tolerations=frozenset({"b"}))}, {"taints": frozenset({"a", "b"})}, {}),
    ("drained", {}, {"drained": True}, {}),
    ("quarantined", {}, {"quarantined": True}, {}),
    ("ending", {"terms": Terms(duration_seconds=60)}, {}, {"left_seconds": 59}),
    ("ending", {}, {}, {"left_seconds": 0}),
    ("price", {"price_limit_microusd_per_unit_hour": 99}, {}, {}),
    ("spot", BID, {"spot_floor_milli": None}, {}),
    ("spot_floor", BID, {"spot_floor_milli": 501}, {}),
    ("gang", {"members": 2}, {}, {}),
    ("online", {}, {"online": False}, {}),
    ("pool", {}, {"pool_ready": False}, {}),
    ("schedule", {"terms": Terms(duration_seconds=60)}, {}, {"open_seconds": 59}),
    ("gpus_free", {}, {}, {"free_gpus": ()}),
    ("cpu_free", {}, {"cpu_free_milli": 999}, {}),
    ("memory_free", {}, {"memory_free_bytes": 0}, {}),
    ("disk_free", {}, {"disk_free_bytes": 0}, {}),
    ("spread", {"group": "g", "group_max": 2}, {"groups": (("g", 2),)}, {}),
]


@pytest.mark.parametrize(
    ("rule", "asked", "host", "offer"), BROKEN, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_rule_removes_what_it_is_there_for(
    rule: str, asked: dict[str, object], host: dict[str, object], offer: dict[str, object]
) -> None:
    sound = request("job", 1)
    assert sieve(Books(Snapshot([SOUND], [OFFER])), sound).removed == {}
    broken = Books(Snapshot([replace(SOUND, **host)], [replace(OFFER, **offer)]))  # type: ignore[arg-type]
    assert sieve(broken, replace(sound, **asked)).removed == {rule: 1}  # type: ignore[arg-type]


def test_a_gang_is_too_few_free_nodes_for_now_where_the_pool_has_enough() -> None:
    hosts = [replace(SOUND, node_id=name) for name in ("a", "b")]
    offers = [replace(OFFER, offer_id=name, node_id=name) for name in ("a", "b")]
    books = Books(Snapshot(hosts, [offers[0], replace(offers[1], free_gpus=())]))
    assert sieve(books, request("job", 1, members=2)).removed == {"gpus_free": 1, "gang_free": 1}


def test_every_rule_is_a_file_and_every_file_is_registered() -> None:
    files = {path.stem for path in Path(scheduler.placement.rules.__file__).parent.glob("*.py")} - {"__init__", "rule"}
    assert files == {name.removesuffix("_free") if name == "gang_free" else name for name in NAMED}
    assert len(NAMED) == len(RULES)
    assert {rule for rule, *_ in BROKEN} | {"gang_free"} == NAMED.keys()


@settings(max_examples=200, deadline=None)
@given(markets(), request_lists())
def test_the_rules_are_what_an_offer_by_offer_reading_of_them_says(market: Snapshot, asked: list[Request]) -> None:
    books = Books(market)
    for one in asked:
        alone = replace(one, members=1)
        naive = [suits(alone, offer, market.nodes[market.node_of[at]]) for at, offer in enumerate(market.offers)]
        assert sieve(books, alone).suits.tolist() == naive


def test_what_makes_no_sense_is_refused() -> None:
    for wrong in (
        {"members": 0},
        {"gpu_milli": 500},
        {"gpu_milli": 0, "shares_with": "org_a"},
        {"gpu_milli": 500, "shares_with": "org_a", "gpu": GpuRequest(count=2)},
        {"spot": True},
    ):
        with pytest.raises(ValueError, match=r"GPU|gang|bids"):
            request("job", 1, **wrong)


@settings(max_examples=200, deadline=None)
@given(markets(), request_lists(), st.text(max_size=3))
def test_nobody_gets_a_slice_who_did_not_ask_for_its_profile_nor_a_card_who_asked_for_a_slice(
    market: Snapshot, asked: list[Request], seed: str
) -> None:
    for one in choose(market, asked, seed).decisions:
        assert one.request.gpu is None or one.offer.mig == (one.request.gpu.mig or "")
