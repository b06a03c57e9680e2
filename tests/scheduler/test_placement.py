"""Placement is pure: whatever the market looks like, nothing is given twice, too much, too dear, or to the wrong."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from market.resources import GpuRequest, Unit, gpu_matches
from scheduler.placement.books import Books
from scheduler.placement.choose import Decision, choose
from scheduler.placement.facts import NodeFacts, OfferFacts
from scheduler.placement.requests import Request
from scheduler.placement.rules import RULES
from scheduler.placement.sieve import in_words, only_for_now, sieve
from scheduler.placement.snapshot import Snapshot

MODELS = ("NVIDIA H100", "NVIDIA A10")


def node(node_id: str, provider_id: str = "prv", **changes: object) -> NodeFacts:
    facts = {"online": True, "pool_ready": True, "simulated": False}
    sizes = {f"{kind}_{part}": 8000 for kind in ("cpu",) for part in ("total_milli", "free_milli")}
    sizes |= {f"{kind}_{part}": 64 for kind in ("memory", "disk") for part in ("total_bytes", "free_bytes")}
    return NodeFacts(node_id=node_id, provider_id=provider_id, name=node_id, **{**facts, **sizes, **changes})  # type: ignore[arg-type]


def gpu_offer(node_id: str, gpus: tuple[int, ...], price: int = 100, model: str = MODELS[0]) -> OfferFacts:
    return OfferFacts(f"{node_id}-{model}", node_id, Unit.GPU, model, 80, len(gpus), gpus, price)


def cpu_offer(node_id: str, price: int = 10) -> OfferFacts:
    return OfferFacts(f"{node_id}-cpu", node_id, Unit.CPU, "CPU", 64, 0, (), price)


def request(job_id: str, gpus: int = 0, **changes: object) -> Request:
    facts = {
        "unit": Unit.GPU if gpus else Unit.CPU,
        "gpu": GpuRequest(count=gpus) if gpus else None,
        "cpu_milli": 1000,
        "memory_bytes": 1,
        "disk_bytes": 1,
        "price_limit_microusd_per_unit_hour": None,
        "simulated": False,
    }
    return Request(job_id=job_id, **{**facts, **changes})  # type: ignore[arg-type]


@st.composite
def markets(draw: st.DrawFn) -> Snapshot:
    nodes, offers, key = [], [], 0
    for index in range(draw(st.integers(0, 6))):
        node_id = f"node{index}"
        cpu, memory = draw(st.integers(1, 8)) * 1000, draw(st.integers(1, 8))
        nodes.append(
            node(
                node_id,
                draw(st.sampled_from(["prv_a", "prv_b", "prv_c"])),
                online=draw(st.sampled_from([True, True, False])),
                pool_ready=draw(st.sampled_from([True, True, False])),
                simulated=draw(st.booleans()),
                cpu_total_milli=8000,
                cpu_free_milli=cpu,
                memory_total_bytes=8,
                memory_free_bytes=memory,
            )
        )
        for model in draw(st.sets(st.sampled_from(MODELS))):
            free = draw(st.integers(0, 4))
            offers.append(gpu_offer(node_id, tuple(range(key, key + free)), draw(st.integers(1, 4)), model))
            key += free
        if draw(st.booleans()):
            offers.append(cpu_offer(node_id, draw(st.integers(1, 4))))
    return Snapshot(nodes, offers)


@st.composite
def requests(draw: st.DrawFn) -> list[Request]:
    found = []
    for index in range(draw(st.integers(0, 12))):
        gpus = draw(st.integers(0, 3))
        model = draw(st.sampled_from([None, "H100", "a10"]))
        found.append(
            request(
                f"job{index}",
                gpus,
                gpu=GpuRequest(count=gpus, model=model) if gpus else None,
                cpu_milli=draw(st.integers(1, 4)) * 500,
                memory_bytes=draw(st.integers(1, 4)),
                price_limit_microusd_per_unit_hour=draw(st.sampled_from([None, 1, 2, 3, 4])),
                simulated=draw(st.booleans()),
            )
        )
    return found


def fits(snapshot: Snapshot, position: int, asked: Request, used: Counter[str], taken: set[int]) -> bool:
    """The rules once more, naively, with plain integers."""
    offer, host = snapshot.offers[position], snapshot.nodes[snapshot.node_of[position]]
    limit = asked.price_limit_microusd_per_unit_hour
    if offer.unit is not asked.unit or host.simulated != asked.simulated or not (host.online and host.pool_ready):
        return False
    if limit is not None and offer.price_microusd_per_unit_hour > limit:
        return False
    if asked.gpu is not None and (
        not gpu_matches(asked.gpu, offer.model, offer.memory_bytes)
        or len([gpu for gpu in offer.free_gpus if gpu not in taken]) < asked.gpu.count
    ):
        return False
    return (
        host.cpu_free_milli - used[f"{host.node_id} cpu"] >= asked.cpu_milli
        and host.memory_free_bytes - used[f"{host.node_id} memory"] >= asked.memory_bytes
        and host.disk_free_bytes - used[f"{host.node_id} disk"] >= asked.disk_bytes
    )


@settings(max_examples=150, deadline=None)
@given(markets(), requests(), st.text(max_size=4), st.booleans())
def test_each_request_in_turn_gets_the_cheapest_offer_that_fits_and_nothing_is_given_twice(
    snapshot: Snapshot, asked: list[Request], seed: str, packed: bool
) -> None:
    choice = choose(snapshot, asked, seed, asked if packed else ())
    decided: dict[str, Decision] = {decision.request.job_id: decision for decision in choice.decisions}
    assert decided.keys() | {item.request.job_id for item in choice.unplaced} == {one.job_id for one in asked}
    used: Counter[str] = Counter()
    taken: set[int] = set()
    for one in asked:
        feasible = [index for index in range(len(snapshot.offers)) if fits(snapshot, index, one, used, taken)]
        decision = decided.get(one.job_id)
        if decision is None:
            assert feasible == []
            continue
        chosen = snapshot.offers.index(decision.offer)
        assert chosen in feasible
        prices = [snapshot.offers[index].price_microusd_per_unit_hour for index in feasible]
        assert decision.offer.price_microusd_per_unit_hour == min(prices)
        assert decision.price_microusd_per_unit_hour == (0 if decision.node.simulated else min(prices))
        assert len(decision.gpus) == (one.gpu.count if one.gpu else 0)
        assert set(decision.gpus) <= set(decision.offer.free_gpus) - taken
        taken |= set(decision.gpus)
        for kind, amount in (("cpu", one.cpu_milli), ("memory", one.memory_bytes), ("disk", one.disk_bytes)):
            used[f"{decision.node.node_id} {kind}"] += amount


@settings(max_examples=50, deadline=None)
@given(markets(), requests(), requests(), st.text(max_size=4))
def test_a_seed_decides_everything(snapshot: Snapshot, asked: list[Request], recent: list[Request], seed: str) -> None:
    again = Snapshot(snapshot.nodes, snapshot.offers)
    assert choose(snapshot, asked, seed, recent) == choose(again, asked, seed, recent)


@settings(max_examples=50, deadline=None)
@given(markets(), requests())
def test_the_rules_account_for_every_offer_they_remove(snapshot: Snapshot, asked: list[Request]) -> None:
    for one in asked:
        found = sieve(Books(snapshot), one)
        assert sum(found.removed.values()) + np.count_nonzero(found.suits) == len(snapshot.offers)
        assert list(found.removed) == [rule.name for rule in RULES if rule.name in found.removed]


def test_providers_of_one_price_share_the_work_and_none_is_always_first() -> None:
    market = Snapshot(
        [node(f"n{index}", f"prv{index}", cpu_free_milli=10**6) for index in range(4)],
        [cpu_offer(f"n{index}") for index in range(4)],
    )
    choice = choose(market, [request(f"job{index}") for index in range(200)], "seed")
    shares = Counter(decision.node.provider_id for decision in choice.decisions)
    assert len(shares) == 4
    assert min(shares.values()) > 25
    first = {choose(market, [request("job")], f"seed{index}").decisions[0].node.provider_id for index in range(20)}
    assert len(first) > 1


def test_within_a_provider_the_fullest_node_that_fits_is_taken() -> None:
    nodes = [node("wide"), node("narrow"), node("full")]
    market = Snapshot(nodes, [gpu_offer("wide", (1, 2, 3)), gpu_offer("narrow", (4, 5)), gpu_offer("full", (6,))])
    choice = choose(market, [request("a", 2), request("b", 1), request("c", 3)], "seed")
    assert [(item.node.node_id, item.gpus) for item in choice.decisions] == [
        ("narrow", (4, 5)),
        ("full", (6,)),
        ("wide", (1, 2, 3)),
    ]


def test_of_equally_cheap_offers_the_one_that_strands_least_is_taken() -> None:
    """The fuller node has CPUs for all its GPUs but this request's are too many; the other has some to spare."""
    nodes = [node("tight", cpu_free_milli=6000), node("roomy", cpu_free_milli=16000)]
    offers = [gpu_offer("tight", (1, 2, 3)), gpu_offer("roomy", (4, 5, 6, 7))]
    recent = [request(f"old{index}", 1, cpu_milli=2000) for index in range(9)]
    greedy = request("greedy", 1, cpu_milli=4000)
    assert choose(Snapshot(nodes, offers), [greedy], "seed").decisions[0].node.node_id == "tight"
    assert choose(Snapshot(nodes, offers), [greedy], "seed", recent).decisions[0].node.node_id == "roomy"
    dearer = [offers[0], gpu_offer("roomy", (4, 5, 6, 7), price=101)]
    assert choose(Snapshot(nodes, dearer), [greedy], "seed", recent).decisions[0].node.node_id == "tight"


def test_what_a_round_has_placed_counts_in_what_the_next_request_strands() -> None:
    """Each node has 2 CPUs more than its GPUs need, and each request takes those 2: the second one goes elsewhere."""
    nodes = [node("four", cpu_free_milli=10_000), node("three", cpu_free_milli=8000)]
    market = Snapshot(nodes, [gpu_offer("four", (1, 2, 3, 4)), gpu_offer("three", (5, 6, 7))])
    recent = [request(f"old{index}", 1, cpu_milli=2000) for index in range(9)]
    greedy = [request(f"greedy{index}", 1, cpu_milli=4000) for index in range(2)]
    choice = choose(market, greedy, "seed", recent)
    assert [decision.node.node_id for decision in choice.decisions] == ["three", "four"]


def test_providers_that_would_strand_as_much_still_draw_lots() -> None:
    market = Snapshot(
        [node(f"n{index}", f"prv{index}") for index in range(4)],
        [gpu_offer(f"n{index}", tuple(range(8 * index, 8 * index + 8))) for index in range(4)],
    )
    asked = [request(f"job{index}", 1) for index in range(8)]
    choice = choose(market, asked, "seed", asked)
    assert len({decision.node.provider_id for decision in choice.decisions}) > 2


def test_cpu_work_leaves_nodes_with_gpus_to_gpu_work() -> None:
    nodes = [node("gpus", cpu_free_milli=2000), node("plain")]
    market = Snapshot(nodes, [gpu_offer("gpus", (1,)), cpu_offer("gpus"), cpu_offer("plain")])
    assert choose(market, [request("a")], "seed").decisions[0].node.node_id == "plain"


def test_gpus_of_two_models_are_never_mixed_in_one_lease() -> None:
    offers = [gpu_offer("n", (1,), model=MODELS[0]), gpu_offer("n", (2,), model=MODELS[1])]
    assert choose(Snapshot([node("n")], offers), [request("a", 2)], "seed").decisions == []


def test_who_goes_without_learns_why_and_whether_waiting_helps() -> None:
    market = Snapshot([node("n"), node("m", online=False)], [gpu_offer("n", ()), gpu_offer("m", (1,), price=900)])
    busy, dear, none = choose(
        market,
        [
            request("busy", 1, gpu=GpuRequest(count=1)),
            request("dear", 1, price_limit_microusd_per_unit_hour=99),
            request("none", 1, gpu=GpuRequest(count=1, model="B200")),
        ],
        "seed",
    ).unplaced
    assert (busy.removed, busy.waits) == ({"gpu_count": 1, "online": 1}, True)
    assert (dear.removed, dear.waits) == ({"gpu_count": 1, "price": 1}, False)
    assert (none.removed, none.waits) == ({"gpu_model": 2}, False)
    assert in_words(none.removed, 2) == "of 2 offers: 2 with another GPU model"
    assert in_words({}, 0) == "no offers stand in the market now"
    assert only_for_now({"price": 1, "cpu_free": 1})
