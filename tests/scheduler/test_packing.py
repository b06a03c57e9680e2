"""Packing: what is promised was free, what is kept is what would be computed afresh, and little is stranded."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.placement.demand import LEVELS, STEP, WHOLE, Demand, Need
from scheduler.placement.packing import NEVER, Packer

KINDS = 2


@st.composite
def needs(draw: st.DrawFn) -> Need:
    gpus = draw(st.sampled_from([0, 1, 1, 1, 2, 4]))
    milli = draw(st.sampled_from([50, 155, 320, 470, 810, WHOLE])) if gpus == 1 else WHOLE * (gpus > 0)
    kinds = draw(st.sampled_from([None, frozenset({0}), frozenset({1}), frozenset({7})])) if gpus else None
    return Need(gpus, milli, draw(st.integers(0, 8)) * 500, draw(st.integers(0, 4)), kinds)


@st.composite
def clusters(draw: st.DrawFn) -> tuple[list[int], list[int], list[list[int]], list[int], list[int]]:
    """node_of, kind, free, cpu, memory: some nodes have two places, some places no GPU."""
    nodes = draw(st.integers(0, 5))
    node_of = [node for node in range(nodes) for _ in range(draw(st.integers(1, 2)))]
    kind = [draw(st.integers(-1, KINDS - 1)) for _ in node_of]
    free = [[WHOLE * (slot < draw(st.integers(0, 4)) and one >= 0) for slot in range(4)] for one in kind]
    cpu = [draw(st.integers(0, 16)) * 1000 for _ in range(nodes)]
    return node_of, kind, free, cpu, [draw(st.integers(0, 16)) for _ in range(nodes)]


def packer(demand: Demand, cluster: tuple[Sequence[object], ...]) -> Packer:
    node_of, kind, free, cpu, memory = (np.array(part, dtype=np.int64) for part in cluster)
    return Packer(demand, node_of, kind, free.reshape(len(node_of), 4), cpu, memory)


def afresh(demand: Demand, used: Packer, kind: Sequence[int]) -> Packer:
    return Packer(demand, used.node_of, np.array(kind, dtype=np.int64), used.free, used.cpu, used.memory)


@settings(max_examples=100, deadline=None)
@given(clusters(), st.lists(needs(), max_size=12), st.lists(needs(), max_size=12), st.data())
def test_no_more_is_promised_than_is_free_and_what_is_given_back_is_free_again(
    cluster: tuple[list[int], list[int], list[list[int]], list[int], list[int]],
    recent: list[Need],
    wanted: list[Need],
    data: st.DataObject,
) -> None:
    node_of, kind, free, cpu, memory = cluster
    demand = Demand(recent, [4] * KINDS)
    used = packer(demand, cluster)
    held: list[tuple[int, Need, list[int]]] = []
    for need in wanted:
        place = used.best(need)
        feasible = [
            index
            for index, node in enumerate(node_of)
            if cpu[node] >= need.cpu_milli
            and memory[node] >= need.memory
            and (not need.gpus or (kind[index] >= 0 and need.accepts(kind[index])))
            and sum(slot >= need.gpu_milli > 0 for slot in free[index]) >= need.gpus
        ]
        assert (np.flatnonzero(used.losses(need) != NEVER)).tolist() == feasible
        assert (place is None) == (not feasible)
        if place is not None:
            slots = used.slots(place, need)
            assert len(set(slots)) == need.gpus
            used.take(place, need, slots)
            for slot in slots:
                free[place][slot] -= need.gpu_milli
                assert free[place][slot] >= 0
            cpu[node_of[place]] -= need.cpu_milli
            memory[node_of[place]] -= need.memory
            held.append((place, need, slots))
        if held and data.draw(st.booleans()):
            where, whose, which = held.pop(data.draw(st.integers(0, len(held) - 1)))
            used.give(where, whose, which)
            for slot in which:
                free[where][slot] += whose.gpu_milli
            cpu[node_of[where]] += whose.cpu_milli
            memory[node_of[where]] += whose.memory
        assert used.free.tolist() == free
        assert (used.cpu.tolist(), used.memory.tolist()) == (cpu, memory)


@settings(max_examples=60, deadline=None)
@given(clusters(), st.lists(needs(), max_size=12), st.lists(needs(), min_size=1, max_size=12))
def test_what_is_kept_is_what_would_be_computed_afresh_and_the_same_again(
    cluster: tuple[list[int], list[int], list[list[int]], list[int], list[int]], recent: list[Need], wanted: list[Need]
) -> None:
    demand = Demand(recent, [4] * KINDS)
    used, again = packer(demand, cluster), packer(Demand(recent, [4] * KINDS), cluster)
    for need in wanted:
        place = used.best(need)
        assert place == again.best(need)
        if place is not None:
            used.take(place, need, used.slots(place, need))
            again.take(place, need, again.slots(place, need))
        new = afresh(demand, used, cluster[1])
        for one in wanted:
            assert used.losses(one).tolist() == new.losses(one).tolist()
        assert used.idle.tolist() == new.idle.tolist()


def test_what_does_not_fit_is_refused_and_changes_nothing() -> None:
    one = packer(Demand([], [4, 0]), ([0], [0], [[WHOLE, WHOLE, 0, 0]], [4000], [8]))
    half = Need(1, 500, 1000, 1)
    one.take(0, half, [0])
    for need, slots in [
        (Need(1, 600, 0, 0), [0]),
        (Need(2, WHOLE, 0, 0), [0, 1]),
        (Need(1, WHOLE, 3001, 0), [1]),
        (Need(1, WHOLE, 0, 8), [1]),
        (Need(2, WHOLE, 0, 0), [1, 1]),
        (half, []),
    ]:
        with pytest.raises(ValueError, match="free"):
            one.take(0, need, slots)
    with pytest.raises(ValueError, match="taken"):
        one.give(0, half, [1])
    assert one.free.tolist() == [[500, WHOLE, 0, 0]]
    assert (one.cpu.tolist(), one.memory.tolist()) == ([3000], [7])
    with pytest.raises(ValueError, match="whole"):
        Need(2, 500, 0, 0)


def test_an_empty_market_places_nothing_and_a_market_without_history_fills_up_what_is_begun() -> None:
    nobody = packer(Demand([], []), ([], [], [], [], []))
    assert nobody.best(Need(1, WHOLE, 0, 0)) is None
    two = packer(Demand([], [8, 0]), ([0, 1], [0, 0], [[WHOLE] * 4, [WHOLE] * 3 + [0]], [8000, 8000], [8, 8]))
    assert two.best(Need(1, WHOLE, 1000, 1)) == 1
    assert two.best(Need(4, WHOLE, 1000, 1)) == 0


def test_a_shared_gpu_is_filled_by_what_fits_it_best() -> None:
    recent = [Need(1, 700, 1, 1), Need(1, 300, 1, 1), Need(1, 200, 1, 1)]
    one = packer(Demand(recent, [4]), ([0], [0], [[300, 400, WHOLE, 0]], [100], [100]))
    assert one.slots(0, Need(1, 300, 1, 1)) == [0]
    assert one.slots(0, Need(1, 200, 1, 1)) == [1]  # 200 are left for another: of the slot of 300, 100 for nobody
    assert one.slots(0, Need(1, 700, 1, 1)) == [2]


def test_gpus_are_not_stranded_without_cpu() -> None:
    """CPU work goes where CPU is more than the GPUs can use, though the other node is fuller."""
    recent = [Need(1, WHOLE, 8000, 1)]
    two = packer(
        Demand(recent, [5]), ([0, 1], [0, 0], [[WHOLE] * 2 + [0] * 2, [WHOLE] * 3 + [0]], [16000, 40000], [9, 9])
    )
    assert two.best(Need(0, 0, 12000, 1)) == 1


def test_kinds_that_some_requests_need_are_left_to_them() -> None:
    recent = [Need(1, WHOLE, 1, 1)] * 9 + [Need(1, WHOLE, 1, 1, frozenset({1}))]
    two = packer(Demand(recent, [4, 1]), ([0, 1], [0, 1], [[WHOLE] * 4, [WHOLE, 0, 0, 0]], [99, 99], [99, 99]))
    assert two.best(Need(1, WHOLE, 1, 1)) == 0


def test_a_gpu_is_worth_what_the_requests_that_take_its_kind_make_of_it() -> None:
    """A whole GPU (100 steps), a tenth of it more for being asked for by name; nothing where nobody takes the kind."""
    recent = [Need(1, WHOLE, 1, 1, frozenset({1}))]
    two = packer(Demand(recent, [1, 1]), ([0, 1], [0, 1], [[WHOLE, 0, 0, 0]] * 2, [99, 99], [99, 99]))
    assert two.losses(Need(1, WHOLE, 1, 1)).tolist() == [0, 110]


@settings(max_examples=50, deadline=None)
@given(st.lists(needs(), max_size=12))
def test_more_free_is_never_worth_less_and_none_is_worth_more_than_itself(recent: list[Need]) -> None:
    worth = Demand(recent, [4] * KINDS).worth
    assert (worth[:, :, 0] == 0).all()
    assert (np.diff(worth, axis=2) >= -1e-9).all()
    assert (worth <= np.arange(LEVELS) * STEP + 1e-9).all()


def test_it_strands_less_than_best_fit_on_a_trace_of_shares_and_whole_gpus() -> None:
    rng = np.random.default_rng(7)
    shapes = [(Need(1, 810, 3000, 6), 25), (Need(1, 470, 10000, 40), 20), (Need(1, 320, 4000, 16), 10)]
    shapes += [(Need(1, 160, 4000, 16), 4), (Need(1, WHOLE, 11000, 48), 35), (Need(0, 0, 12000, 30), 5)]
    shapes += [(Need(8, WHOLE, 64000, 260), 1)]
    weights = np.array([weight for _, weight in shapes], dtype=float)
    arrivals = [shapes[index][0] for index in rng.choice(len(shapes), 900, p=weights / weights.sum())]
    cluster = (range(60), [0] * 60, [[WHOLE] * 8] * 60, [96000] * 60, [384] * 60)
    node_of, kind, free, cpu, memory = (np.array(part, dtype=np.int64) for part in cluster)
    ours = Packer(
        Demand([need for need, weight in shapes for _ in range(weight)], [480]), node_of, kind, free, cpu, memory
    )
    theirs = Packer(Demand([], [480]), node_of, kind, free, cpu, memory)
    for need in arrivals:
        place = ours.best(need)
        if place is not None:
            ours.take(place, need, ours.slots(place, need))
        spot = _best_fit(theirs, need)
        if spot is not None:
            theirs.take(*spot)
    assert ours.idle.sum() < 0.8 * theirs.idle.sum()


def _best_fit(state: Packer, need: Need) -> tuple[int, Need, list[int]] | None:
    """The node with least left of CPU and GPUs, and there the fullest GPU that fits."""
    fits = np.flatnonzero(state.losses(need) != NEVER)
    if len(fits) == 0:
        return None
    place = int(fits[(state.cpu[fits] / 96000 + state.idle[fits] / 8000).argmin()])
    order = sorted(range(8), key=lambda slot: (state.free[place, slot], slot))
    return place, need, [slot for slot in order if state.free[place, slot] >= need.gpu_milli][: need.gpus]
