"""Spot's laws: it pays its bid, goes last, and makes room for what pays more; on-demand work makes room for nobody."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from placement_markets import gpu_offer, node, rarely, request, suits
from soak_size import size

from scheduler.placement.choose import choose
from scheduler.placement.decisions import Choice
from scheduler.placement.engine import Engine
from scheduler.placement.facts import NodeFacts, OfferFacts
from scheduler.placement.queue.competition import Competition
from scheduler.placement.queue.waiting import Amounts, Waiting
from scheduler.placement.reclaiming import SpotWork
from scheduler.placement.requests import Request
from scheduler.placement.snapshot import Snapshot

EXAMPLES = size(100, 1000)


def bid(job_id: str, amount: int, gpus: int = 1) -> Request:
    return request(job_id, gpus, spot=True, price_limit_microusd_per_unit_hour=amount)


def work(name: str, amount: int, gpus: int = 1, on: str = "n", **more: object) -> SpotWork:
    sizes = {"cpu_milli": 1000, "memory_bytes": 1, "disk_bytes": 1, "began_at": 0, "model": "NVIDIA H100"}
    return SpotWork(name, f"job_{name}", on, amount, gpus=gpus, **{**sizes, **more})  # type: ignore[arg-type]


def told(gpus: tuple[int, ...], works: Sequence[SpotWork], *asked: Request) -> list[tuple[str, str]]:
    """What makes room for whom, on a node of so many GPUs beside what the work holds."""
    count = len(gpus) + sum(one.gpus for one in works)
    engine = Engine()
    choice = engine.choose(Snapshot([node("n")], [gpu_offer("n", gpus, gpu_count=count)]), asked, "")
    return [(one.work.attempt_id, one.request.job_id) for one in engine.reclaim(choice.unplaced, works)]


def test_a_spot_job_pays_what_it_bids_and_never_more_than_is_asked() -> None:
    market = Snapshot([node("n")], [gpu_offer("n", (1, 2), price=100)])
    choice = choose(market, [bid("low", 60), bid("high", 400)], "")
    assert [one.price_microusd_per_unit_hour for one in choice.decisions] == [60, 100]


def test_the_bid_must_reach_the_floor() -> None:
    host, offer = node("n", spot_floor_milli=605), gpu_offer("n", (1,), price=100)
    assert not choose(Snapshot([host], [offer]), [bid("under", 60)], "").decisions
    assert choose(Snapshot([host], [offer]), [bid("above", 61)], "").decisions


def test_on_demand_goes_first_then_the_higher_bid_whoever_came_first() -> None:
    asked = [bid("low", 60), bid("high", 80), request("usual", 1), bid("middle", 70)]
    waiting = tuple(Waiting(one, f"org_{at}", at) for at, one in enumerate(asked))
    market = Snapshot([node("n")], [gpu_offer("n", (1, 2, 3))])
    turns = Competition(waiting, (), {}, {}, Amounts(3000, 8000, 64), 100).turns()
    choice = Engine().choose(market, turns, "")
    assert [one.request.job_id for one in choice.decisions] == ["usual", "high", "middle"]
    assert (turns.passed, turns.held) == ([], {})


def test_on_demand_reclaims_the_lowest_bid_and_a_bid_only_what_is_lower() -> None:
    works = [work("a", 60), work("b", 50), work("c", 70)]
    assert told((), works, request("usual", 1)) == [("b", "usual")]
    assert told((), works, bid("more", 60)) == [("b", "more")]
    assert told((), works, bid("as_much", 50)) == []


def test_nobody_leaves_needlessly() -> None:
    works = [work("small", 50), work("large", 60, gpus=3)]
    assert told((), works, request("usual", 3)) == [("large", "usual")]


def test_of_equal_bids_the_youngest_makes_room() -> None:
    works = [work("old", 50, began_at=10), work("young", 50, began_at=20)]
    assert told((), works, request("usual", 1)) == [("young", "usual")]


def test_what_is_free_is_taken_before_anybody_makes_room() -> None:
    assert told((1,), [work("a", 50)], request("usual", 1)) == []
    assert told((1,), [work("a", 50)], request("large", 2)) == [("a", "large")]


def test_what_leaves_already_is_waited_for_and_given_once() -> None:
    works = [work("leaves", 50, leaving=True), work("stays", 60)]
    assert told((), works, request("first", 1)) == []
    assert told((), works, request("first", 1), request("second", 1)) == [("stays", "second")]


def test_nobody_makes_room_where_that_is_not_enough() -> None:
    assert told((), [work("a", 50), work("b", 50)], request("large", 3)) == []
    assert told((), [work("a", 50)], request("greedy", 1, cpu_milli=8001)) == []


def test_whose_places_are_held_makes_no_more_leave_than_it_lacks() -> None:
    """One GPU is free and held for it: one of the two that run has to leave."""
    large = Waiting(request("large", 2), "org_a", 0, passed_at=1, held=("n",))
    market = Snapshot([node("n")], [gpu_offer("n", (1,), gpu_count=3)])
    turns = Competition((large,), (), {}, {}, Amounts(3000, 8000, 64), 2000).turns()
    engine = Engine()
    choice = engine.choose(market, turns, "")
    found = engine.reclaim(choice.unplaced, [work("a", 60), work("b", 50)])
    assert [one.work.attempt_id for one in found] == ["b"]


@st.composite
def busy_markets(draw: st.DrawFn) -> tuple[Snapshot, list[SpotWork]]:
    """Nodes whose GPUs spot work holds, but for a few that are free or held by others."""
    hosts, offers, works = [], [], []
    for at in range(draw(st.integers(1, 3))):
        name, left, cpus = f"n{at}", 4, 8000
        for _ in range(draw(st.integers(0, 4))):
            gpus = draw(st.integers(0, min(left, 2)))
            left, cpus = left - gpus, cpus - 1000
            model, began_at = "NVIDIA H100" if gpus else "", draw(st.integers(0, 5))
            how = {"model": model, "began_at": began_at, "leaving": draw(rarely)}
            works.append(work(f"a{len(works)}", draw(st.integers(0, 4)), gpus, name, **how))
        free = tuple(range(10 * at, 10 * at + draw(st.integers(0, left))))
        hosts.append(node(name, cpu_free_milli=draw(st.integers(0, cpus // 1000)) * 1000, drained=draw(rarely)))
        offers.append(gpu_offer(name, free, draw(st.integers(1, 4)), gpu_count=4))
    return Snapshot(hosts, offers), works


asks = st.builds(
    lambda gpus, cpus, limit, spot: replace(
        request("job", gpus),
        cpu_milli=cpus * 1000,
        price_limit_microusd_per_unit_hour=limit,
        spot=spot and limit is not None,
    ),
    st.integers(1, 3),
    st.integers(1, 4),
    st.sampled_from([None, None, 2, 3, 4]),
    st.booleans(),
)
queues = st.lists(asks, min_size=1, max_size=4).map(
    lambda several: [replace(one, job_id=f"job{at}") for at, one in enumerate(several)]
)


def freed(market: Snapshot, gone: Sequence[SpotWork]) -> Snapshot:
    """The market once these have left."""

    def host(one: NodeFacts) -> NodeFacts:
        its = [left for left in gone if left.node_id == one.node_id]
        return replace(
            one,
            cpu_free_milli=one.cpu_free_milli + sum(left.cpu_milli for left in its),
            memory_free_bytes=one.memory_free_bytes + sum(left.memory_bytes for left in its),
            disk_free_bytes=one.disk_free_bytes + sum(left.disk_bytes for left in its),
        )

    def offer(at: int, one: OfferFacts) -> OfferFacts:
        count = sum(left.gpus for left in gone if (left.node_id, left.model) == (one.node_id, one.model))
        keys = tuple(1000 + 100 * at + more for more in range(count))
        return replace(one, free_gpus=one.free_gpus + keys)

    return Snapshot([host(one) for one in market.nodes], [offer(at, one) for at, one in enumerate(market.offers)])


def drawn_from(market: Snapshot, choice: Choice) -> Snapshot:
    """The market without what a choice took."""
    for decision in choice.decisions:
        hosts = [_less(one, decision.request) if one.node_id == decision.node.node_id else one for one in market.nodes]
        offers = [
            replace(one, free_gpus=tuple(key for key in one.free_gpus if key not in decision.gpus))
            if one.offer_id == decision.offer.offer_id
            else one
            for one in market.offers
        ]
        market = Snapshot(hosts, offers)
    return market


def _less(host: NodeFacts, asked: Request) -> NodeFacts:
    return replace(
        host,
        cpu_free_milli=host.cpu_free_milli - asked.cpu_milli,
        memory_free_bytes=host.memory_free_bytes - asked.memory_bytes,
        disk_free_bytes=host.disk_free_bytes - asked.disk_bytes,
    )


@settings(max_examples=EXAMPLES, deadline=None)
@given(busy_markets(), queues)
def test_only_spot_work_makes_room_only_for_who_pays_more_and_it_is_enough_and_none_of_it_needless(
    busy: tuple[Snapshot, list[SpotWork]], asked: list[Request]
) -> None:
    market, works = busy
    engine = Engine()
    choice = engine.choose(market, asked, "")
    found = engine.reclaim(choice.unplaced, works)
    assert all(one.work in works and not one.work.leaving for one in found)
    assert max(Counter(one.work.attempt_id for one in found).values(), default=1) == 1
    assert all(not one.request.spot or one.work.bid < one.request.bid for one in found)
    if found:
        first, left = found[0].request, drawn_from(market, choice)
        gone, its = [one for one in works if one.leaving], [one.work for one in found if one.request is first]
        assert not _room(first, left), "it could have been placed at once"
        assert _room(first, freed(left, [*gone, *its]))
        turns = sorted((one.request for one in choice.unplaced if one.waits), key=lambda one: -one.bid)
        # Those before it in turn have what leaves anyway.
        for needed in its if first is turns[0] else ():
            others = [one for one in its if one is not needed]
            assert not _room(first, freed(left, [*gone, *others]), on=needed.node_id)


@settings(max_examples=EXAMPLES, deadline=None)
@given(busy_markets(), queues, queues)
def test_the_same_round_always_comes_to_the_same_reclaims(
    busy: tuple[Snapshot, list[SpotWork]], asked: list[Request], before: list[Request]
) -> None:
    market, works = busy
    used = Engine()
    used.choose(market, before, "before")
    again = [engine.reclaim(engine.choose(market, asked, "").unplaced, works) for engine in (used, Engine())]
    assert again[0] == again[1]


def _room(asked: Request, market: Snapshot, on: str | None = None) -> bool:
    """Whether an offer suits it, on that node or anywhere."""
    hosts = [market.nodes[at] for at in market.node_of]
    return any(
        suits(asked, offer, host)
        for offer, host in zip(market.offers, hosts, strict=True)
        if on is None or host.node_id == on
    )
