"""The pool waits for what was given back a moment ago, and for nothing else."""

import time
from threading import Thread

from provider_agent.pool.holdings import SETTLE_SECONDS, Holdings

TOTAL = {"CPU": 2.0, "GPU": 1.0, "gpu-a": 1.0}
WHOLE_GPU = {"CPU": 0.5, "GPU": 1.0, "gpu-a": 1.0}


class Time:
    """Monotonic seconds that move as they are told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def holdings(clock: Time) -> Holdings:
    fresh = Holdings(clock)
    fresh.begin(TOTAL, {})
    return fresh


def test_what_has_room_beside_the_rest_waits_for_nothing() -> None:
    books = holdings(Time())
    books.take("one", {"CPU": 1.0}, 10.0)
    books.give_back("one")
    # Time stands still: had it to wait, it never came back.
    books.take("two", {"CPU": 1.0}, 10.0)


def test_what_ray_refuses_anyway_is_not_waited_for() -> None:
    holdings(Time()).take("huge", {"CPU": 3.0}, 10.0)
    holdings(Time()).take("strange", {"gpu-b": 1.0}, 10.0)


def test_a_device_given_back_just_now_is_waited_for_until_it_has_settled() -> None:
    clock = Time()
    books = holdings(clock)
    books.take("one", WHOLE_GPU, 10.0)
    taking = Thread(target=books.take, args=("two", WHOLE_GPU, 10.0))
    taking.start()
    books.give_back("one")
    taking.join(SETTLE_SECONDS * 4)
    assert taking.is_alive(), "it is given back, and Ray still counts it as taken"
    clock.now += SETTLE_SECONDS
    taking.join(10)
    assert not taking.is_alive()


def test_what_never_comes_free_is_waited_for_no_longer_than_asked() -> None:
    books = Holdings(time.monotonic)
    books.begin(TOTAL, {"of an earlier process": WHOLE_GPU})
    began = time.monotonic()
    books.take("two", WHOLE_GPU, 0.1)
    assert time.monotonic() - began >= 0.1
