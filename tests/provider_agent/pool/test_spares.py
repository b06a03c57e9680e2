"""What was given back waits a moment for an attempt of equal needs, and never stands in the way of another."""

import asyncio
from pathlib import Path

import pytest

from provider_agent.pool.cluster import Pool, _Holding
from provider_agent.pool.head import PoolConfig
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


def test_nothing_is_kept_while_somebody_is_being_reserved_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits in Ray's books may wait for this very room."""
    pool = Pool(PoolConfig(folder=tmp_path, cpus=2.0, memory_bytes=100))
    given_back: list[str] = []

    async def give_back(name: str) -> bool:
        given_back.append(name)
        return True

    async def scenario() -> None:
        for name, sure in (("kept", True), ("ended", True), ("waiting", False)):
            pool._held[name] = _Holding(needs(name), sure)
        await pool.release("ended")
        assert given_back == ["ended"]
        pool._held["waiting"].sure = True
        await pool.release("kept")
        assert given_back == ["ended"]
        await pool.stop()

    monkeypatch.setattr(pool, "_give_back", give_back)
    asyncio.run(scenario())
