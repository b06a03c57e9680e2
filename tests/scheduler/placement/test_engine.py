"""The engine's laws: nothing twice, no rule broken, gangs whole or not at all, and no memory of how it got here."""

from collections import Counter, defaultdict
from dataclasses import replace
from itertools import groupby

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from placement_markets import (
    drawn,
    gpu_offer,
    markets,
    node,
    nodes,
    plain,
    rarely,
    request,
    request_lists,
    suits,
)
from soak_size import size

from market.resources import GpuRequest
from scheduler.placement import picking
from scheduler.placement.books import Books
from scheduler.placement.choose import choose
from scheduler.placement.engine import Engine
from scheduler.placement.facts import Part
from scheduler.placement.picking import Lots, draw
from scheduler.placement.requests import Request, Within
from scheduler.placement.snapshot import Snapshot

seeds = st.text(max_size=3)
EXAMPLES = size(60, 1000)


@settings(max_examples=EXAMPLES, deadline=None)
@given(markets(), request_lists(), seeds, st.booleans())
def test_no_rule_is_broken_nothing_is_given_twice_and_gangs_are_placed_whole_or_not_at_all(
    market: Snapshot, asked: list[Request], seed: str, packed: bool
) -> None:
    choice = choose(market, asked, seed, asked if packed else ())
    placed = {job: list(members) for job, members in groupby(choice.decisions, lambda one: one.request.job_id)}
    assert placed.keys() | {one.request.job_id for one in choice.unplaced} == {one.job_id for one in asked}
    for one in asked:
        members = placed.get(one.job_id, [])
        assert [member.member for member in members] == list(range(one.members if members else 0))
        together = one.members > 1 and one.within is Within.NODE
        if members:
            hosts = {member.node.node_id for member in members}
            assert len(hosts) == (1 if together else len(members))
            assert len({member.node.provider_id for member in members}) == 1
        elif one.members == 1:
            assert not any(
                suits(one, offer, market.nodes[market.node_of[at]]) for at, offer in enumerate(market.offers)
            )
        for member in members:
            (offer,) = (offer for offer in market.offers if offer.offer_id == member.offer.offer_id)
            (host,) = (host for host in market.nodes if host.node_id == member.node.node_id)
            assert suits(replace(one, group_max=0) if together else one, offer, host)
            market = drawn(market, member)


@settings(max_examples=EXAMPLES, deadline=None)
@given(markets(), seeds, st.data())
def test_what_the_engine_keeps_changes_no_answer(market: Snapshot, seed: str, data: st.DataObject) -> None:
    """However it got here, an engine decides as one that has just begun; some decisions are applied, some dropped."""
    engine = Engine()
    recent: list[Request] = []
    for turn in range(data.draw(st.integers(1, 4))):
        asked = data.draw(request_lists())
        if data.draw(st.booleans()):
            recent = data.draw(st.sampled_from([[], asked]))
        choice = engine.choose(market, asked, f"{seed}{turn}", recent)
        fresh = choose(Snapshot(market.nodes, market.offers), asked, f"{seed}{turn}", recent)
        assert plain(choice) == plain(fresh)
        for decision in choice.decisions:
            if data.draw(st.booleans()):
                market = drawn(market, decision)
        changed = [data.draw(nodes(at)) if data.draw(rarely) else host for at, host in enumerate(market.nodes)]
        offers = [
            replace(offer, price_microusd_per_unit_hour=data.draw(st.integers(1, 4))) if data.draw(rarely) else offer
            for offer in market.offers
            if not data.draw(rarely)
        ]
        market = Snapshot(changed, offers)


def test_within_the_tolerance_the_request_goes_where_it_strands_least() -> None:
    hosts = [node("tight", cpu_free_milli=6000), node("roomy", cpu_free_milli=16000)]
    market = Snapshot(hosts, [gpu_offer("tight", (1, 2, 3), 100), gpu_offer("roomy", (4, 5, 6, 7), 105)])
    recent = [request(f"old{index}", 1, cpu_milli=2000) for index in range(9)]
    for tolerance, where in ((0, "tight"), (49, "tight"), (50, "roomy")):
        greedy = request("greedy", 1, cpu_milli=4000, price_tolerance_milli=tolerance)
        assert choose(market, [greedy], "seed", recent).decisions[0].node.node_id == where


def test_a_gang_takes_the_pool_that_is_cheapest_in_all_and_no_node_twice() -> None:
    hosts = [node(f"a{at}", "prv_a") for at in range(2)] + [node(f"b{at}", "prv_b") for at in range(3)]
    prices = {"a0": 100, "a1": 200, "b0": 149, "b1": 149, "b2": 900}
    offers = [gpu_offer(name, tuple(range(10 * at, 10 * at + 4)), prices[name]) for at, name in enumerate(prices)]
    pair = request("pair", 2, members=2)
    trio = request("trio", 2, members=3)
    found = choose(Snapshot(hosts, offers), [pair, trio], "seed").decisions
    assert [(one.request.job_id, one.node.node_id) for one in found] == [
        ("pair", "b0"),
        ("pair", "b1"),
        ("trio", "b0"),
        ("trio", "b1"),
        ("trio", "b2"),
    ]


def test_a_gang_that_does_not_fit_whole_leaves_everything_to_others() -> None:
    hosts = [node("one"), node("two", "prv_b")]
    market = Snapshot(hosts, [gpu_offer("one", (1, 2)), gpu_offer("two", (3, 4))])
    choice = choose(market, [request("gang", 1, members=2), request("next", 2), request("last", 2)], "seed")
    assert [one.request.job_id for one in choice.decisions] == ["next", "last"]
    assert choice.unplaced[0].removed == {"gang": 2}
    on_one = choose(market, [request("gang", 1, members=2, within=Within.NODE)], "seed").decisions
    assert [len(one.gpus) for one in on_one] == [1, 1]
    assert len({one.node.node_id for one in on_one}) == 1
    assert len({one.gpus for one in on_one}) == 2


def test_a_gpu_is_shared_within_one_organization_alone() -> None:
    offer = replace(gpu_offer("n", (), gpu_count=1), parts=(Part(1, "org_a", 500),))
    market = Snapshot([node("n")], [offer])
    mine, theirs = (request(org, 1, gpu_milli=300, shares_with=org) for org in ("org_a", "org_b"))
    choice = choose(market, [theirs, mine, mine], "seed", [mine])
    assert [one.request.job_id for one in choice.decisions] == ["org_a"]
    assert [one.request.job_id for one in choice.unplaced] == ["org_b", "org_a"]
    fresh = Snapshot([node("n")], [gpu_offer("n", (1,))])
    assert [one.request.job_id for one in choose(fresh, [mine, theirs, mine, mine], "s").decisions] == ["org_a"] * 3


def test_members_of_a_spread_group_keep_apart_and_others_do_not() -> None:
    market = Snapshot([node("n", groups=(("g", 1),)), node("m")], [gpu_offer("n", (1, 2)), gpu_offer("m", (3, 4))])
    spread = [request(f"job{at}", 1, group="g", group_max=1) for at in range(2)]
    choice = choose(market, [*spread, request("other", 1, group="h", group_max=1)], "seed")
    assert choice.decisions[0].node.node_id == "m"
    assert [one.request.job_id for one in choice.decisions] == ["job0", "other"]
    assert choice.unplaced[0].removed == {"spread": 2}
    assert choice.unplaced[0].waits


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 6), seeds)
def test_lots_are_fair_between_providers_of_one_price_however_many_offers_each_has(count: int, seed: str) -> None:
    """Provider k has k nodes and as many chances as any other. 400 lots: 6 standard deviations either way."""
    hosts = [node(f"n{at}_{nth}", f"prv{at}", cpu_free_milli=10**7) for at in range(count) for nth in range(at + 1)]
    offers = [gpu_offer(host.node_id, tuple(range(9 * at, 9 * at + 8))) for at, host in enumerate(hosts)]
    engine, market, shares = Engine(), Snapshot(hosts, offers), Counter[str]()
    for nth in range(400):
        (decision,) = engine.choose(market, [request(f"job{nth}", 1)], seed).decisions
        shares[decision.node.provider_id] += 1
    fair = 400 / count
    spread = (fair * (1 - 1 / count)) ** 0.5
    assert all(abs(shares[f"prv{at}"] - fair) <= 6 * spread for at in range(count))


def test_a_round_keeps_nothing_that_grows_with_its_history() -> None:
    market = Snapshot([node("n"), node("m")], [gpu_offer("n", (1, 2, 3)), gpu_offer("m", (4, 5, 6))])
    engine, sizes = Engine(), defaultdict[str, set[int]](set)
    for nth in range(2000):
        engine.choose(market, [request(f"job{nth}", 1, cpu_milli=nth + 1)], f"{nth}", [request("old", 1)])
        kept = engine._candidates
        sizes["shapes"].add(len(kept._shapes))
        sizes["touched"].add(len(kept._touched))
    assert max(sizes["shapes"]) <= 512
    assert max(sizes["touched"]) <= (1 << 16) + 2


def test_the_gpus_of_a_request_by_memory_are_of_that_memory() -> None:
    market = Snapshot([node("n")], [gpu_offer("n", (1, 2))])
    small = request("small", 1, gpu=GpuRequest(count=1, memory_max_bytes=79))
    assert choose(market, [small], "seed").unplaced[0].removed == {"gpu_memory": 1}


def test_lots_drawn_together_are_those_drawn_singly(monkeypatch: pytest.MonkeyPatch) -> None:
    books = Books(Snapshot([node(str(at), f"prv_{at}") for at in range(7)], []))
    jobs = [f"job{at}" for at in range(40)]
    monkeypatch.setattr(picking, "LOTS_AT_ONCE", 100)
    lots = Lots(books, "seed", jobs)
    for job_id in (*jobs, "job3", "of somebody else"):
        assert lots.of(job_id).tolist() == draw(books.providers[1], "seed", job_id).tolist()
