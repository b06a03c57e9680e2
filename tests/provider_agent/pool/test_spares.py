"""What was given back waits a moment for an attempt of equal needs, and never stands in the way of another."""

import pytest

from provider_agent.pool.spares import Spares
from provider_agent.pool.wire import Reservation

TOTAL = {"CPU": 2.0, "memory": 100.0, "GPU": 1.0, "gpu-a": 1.0}


class Time:
    """Monotonic seconds that move as they are told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def needs(name: str, cpus: float = 1.0, *gpus: str) -> Reservation:
    return Reservation(name=name, cpus=cpus, memory_bytes=10, gpu_uuids=gpus)


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def spares(clock: Time) -> Spares:
    return Spares(TOTAL, 1.0, clock)


def test_equal_needs_take_it_over_once(spares: Spares) -> None:
    spares.keep(needs("one"))
    assert spares.take(needs("two")) == needs("one")
    assert spares.take(needs("three")) is None


@pytest.mark.parametrize("other", [needs("two", 0.5), needs("two", 1.0, "a")])
def test_other_needs_do_not(spares: Spares, other: Reservation) -> None:
    spares.keep(needs("one"))
    assert spares.take(other) is None


def test_it_is_kept_for_a_moment_and_no_longer(spares: Spares, clock: Time) -> None:
    spares.keep(needs("one"))
    clock.now += 0.9
    assert (spares.take_expired(), spares.next_seconds) == ([], pytest.approx(0.1))
    clock.now += 0.1
    assert (spares.take_expired(), spares.next_seconds) == ([needs("one")], None)


def test_what_is_in_the_way_goes_at_once_the_oldest_first_and_no_more_than_need_be(spares: Spares) -> None:
    for name in ("one", "two"):
        spares.keep(needs(name, 0.5))
    assert spares.make_room(needs("three", 0.75), [needs("running", 0.5)]) == [needs("one", 0.5)]
    assert spares.make_room(needs("four", 1.0), [needs("running", 0.5)]) == []
    assert spares.make_room(needs("four", 1.5), [needs("running", 0.5)]) == [needs("two", 0.5)]


def test_a_gpu_is_freed_for_other_needs_on_it(spares: Spares) -> None:
    spares.keep(needs("one", 0.5, "a"))
    assert spares.make_room(needs("two", 1.0, "a"), []) == [needs("one", 0.5, "a")]


def test_one_that_keeps_nothing_says_so(clock: Time) -> None:
    assert not Spares(TOTAL, 0, clock).keep(needs("one"))
