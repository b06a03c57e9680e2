"""FAULTS.md rows 2, 12 and 14: the broker, PostgreSQL and the cache are killed, emptied, full, and away at a submit."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import httpx
import psycopg
import pytest
import redis
from plane import ControlPlane
from scene import Scene
from soak_size import size

PLACED_SECONDS, SERVING_SECONDS = 30.0, 5.0
ROUNDS = size(2, 60)


@pytest.mark.timeout(3600)
def test_nothing_is_lost_even_if_every_message_is(plane: ControlPlane, scene: Callable[..., Scene]) -> None:
    market = scene()
    for _ in range(ROUNDS):
        plane.broker.kill()
        market.tended(market.journal.submit(8), 20)
        plane.broker.start()
        began = time.monotonic()
        with redis.Redis.from_url(plane.broker.url) as broker:
            for _ in range(5):
                broker.flushall()
                market.tended(market.journal.submit(4))
        plane.until(lambda: market.unplaced() == 0, PLACED_SECONDS, "a place for every job")
        assert time.monotonic() - began <= PLACED_SECONDS
    market.settle()
    market.check()


@pytest.mark.timeout(3600)
def test_what_was_acknowledged_outlives_postgresql(plane: ControlPlane, scene: Callable[..., Scene]) -> None:
    market = scene()
    for _ in range(ROUNDS):
        load = market.run(market.journal.submit(20, at_once=10))
        plane.until(lambda load=load: len(market.journal.job_ids) % 20 > 5 or load.done(), 30, "some jobs")
        plane.database.kill()
        plane.database.start()
        assert _served_after(plane, market) <= SERVING_SECONDS
        plane.until(load.done, 60, "every answer")
    market.settle()
    market.check()


def test_connections_that_are_all_taken_cost_a_refusal_and_nothing_else(
    plane: ControlPlane, scene: Callable[..., Scene]
) -> None:
    market = scene()
    headers = {"Authorization": f"Bearer {market.token}"}
    market.tended(market.journal.submit(4))
    with _exhausted(plane):
        plane.parts["api"].kill()
        plane.parts["api"].start()
        plane.until(lambda: _status(plane) is not None, 60, "a portal that answers at all")
        refused = httpx.get(f"{plane.url}/v1/jobs", headers=headers, timeout=30)
        assert (refused.status_code, "Retry-After" in refused.headers) == (503, True)
    assert _served_after(plane, market) <= SERVING_SECONDS
    market.settle()
    market.check()


@pytest.mark.timeout(3600)
def test_the_cache_holds_no_truth(plane: ControlPlane, scene: Callable[..., Scene]) -> None:
    market = scene()
    for _ in range(ROUNDS):
        load = market.run(market.journal.submit(30, at_once=5))
        with redis.Redis.from_url(plane.cache.url) as cache:
            while not load.done():
                cache.flushall()
                plane.tend()
        load.result()
        plane.cache.kill()
        market.tended(market.journal.submit(4), 30)
        plane.cache.start()
    market.settle()
    market.check()


def _served_after(plane: ControlPlane, market: Scene) -> float:
    """Seconds from now until a submit is acknowledged."""
    began = time.monotonic()
    market.tended(market.journal.submit(1))
    return time.monotonic() - began


def _status(plane: ControlPlane) -> int | None:
    try:
        return httpx.get(f"{plane.url}/health", timeout=20).status_code
    except httpx.TransportError:
        return None


@contextmanager
def _exhausted(plane: ControlPlane) -> Iterator[None]:
    """No connection of the database is left for anybody new."""
    url = plane.database.url.replace("postgresql+psycopg", "postgresql")
    with ExitStack() as taken:
        plane.parts["api"].kill()
        for _ in range(200):
            try:
                taken.enter_context(psycopg.connect(url))
            except psycopg.OperationalError:
                break
        else:
            raise AssertionError("the server takes any number of connections")
        yield
