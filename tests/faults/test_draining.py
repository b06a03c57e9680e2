"""A deploy: processes that are told to end finish what they took on, and nobody who comes back notices."""

import time
from collections.abc import Callable

import httpx
import pytest
from plane import ControlPlane
from scene import Scene
from soak_size import size

ROUNDS = size(2, 40)
LONGEST_SECONDS = 10.0
"""Below the patience that the server has with requests under way, and half of the agents' long poll."""


@pytest.mark.timeout(1800)
def test_a_portal_that_is_replaced_under_load_fails_no_request_it_took(
    plane: ControlPlane, scene: Callable[..., Scene]
) -> None:
    market = scene()
    for _ in range(ROUNDS):
        load = market.run(market.journal.submit(60, at_once=20))
        answered = len(market.journal.job_ids)
        plane.until(lambda before=answered: len(market.journal.job_ids) > before + 5, 30, "some answers")
        portal = plane.parts["api"]
        began = time.monotonic()
        assert portal.terminate() == 0
        took = time.monotonic() - began
        portal.start()
        plane.until(load.done, 60, "every answer")
        load.result()
        assert took < LONGEST_SECONDS, "long polls are answered and idle connections closed, at once"
    market.settle()
    market.check()


def test_long_polls_streams_and_idle_connections_end_at_once(plane: ControlPlane, scene: Callable[..., Scene]) -> None:
    market = scene(run_seconds=6.0)
    market.tended(market.journal.submit(1))
    job_id = next(iter(market.journal.job_ids))
    told: list[str] = []
    reading = market.run(_events(plane.url, market.token, job_id, told))
    with httpx.Client(base_url=plane.url, timeout=20) as idle:
        idle.get("/health")
        plane.until(lambda: "running" in "".join(told), 20, "a running job, told by the stream")
        began = time.monotonic()
        assert plane.parts["api"].terminate() == 0
        assert time.monotonic() - began < LONGEST_SECONDS
        plane.until(reading.done, 20, "the end of the stream")
    # In order: a connection that broke would raise.
    reading.result()
    plane.calm()
    market.settle()
    market.check()


def test_a_worker_that_is_replaced_under_load_finishes_its_tasks_and_leaves_the_rest(
    plane: ControlPlane, scene: Callable[..., Scene]
) -> None:
    market = scene()
    for _ in range(ROUNDS):
        before, worker = market.placed(), plane.parts["worker"]
        load = market.run(market.journal.submit(30, at_once=10))
        plane.until(lambda before=before: market.placed() > before, 60, "a worker that works")
        assert worker.terminate() == 0
        worker.start()
        plane.until(load.done, 60, "every answer")
    market.settle()
    market.check()
    failed = "SELECT count(*) FROM outbox_deliveries WHERE error IS NOT NULL OR parked_at IS NOT NULL"
    assert market.count(failed) == 0


async def _events(url: str, token: str, job_id: str, told: list[str]) -> None:
    """What one stream tells until the server ends it in order."""
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx.AsyncClient(base_url=url, headers=headers, timeout=20) as http,
        http.stream("GET", f"/v1/jobs/{job_id}/events") as answer,
    ):
        async for line in answer.aiter_lines():
            told.append(line)
