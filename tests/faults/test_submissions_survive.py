"""FAULTS.md row 1: the portal is killed before a commit, after it and in mid-stream; a submit happens exactly once."""

import asyncio
import json
from collections.abc import Callable

import httpx
import pytest
from httpx_sse import aconnect_sse
from plane import ControlPlane
from scene import Scene
from soak_size import KILLS_A_POINT, size

KILLS, BREAKS = size(2, KILLS_A_POINT), size(3, KILLS_A_POINT)


@pytest.mark.parametrize("point", ["api.submit.before_commit", "api.submit.after_commit"])
def test_a_submit_happens_exactly_once_whenever_the_portal_dies(
    plane: ControlPlane, scene: Callable[..., Scene], point: str
) -> None:
    market = scene()
    plane.arm(api=f"{point}=kill@3*{KILLS}")
    while plane.fired()[point] < KILLS:
        market.tended(market.journal.submit(8, callers=2, at_once=4))
    plane.calm()
    market.settle(120 + KILLS)
    market.check(kills=KILLS)


def test_fifty_callers_with_one_key_make_one_job_and_another_body_is_refused(scene: Callable[..., Scene]) -> None:
    market = scene()
    market.tended(market.journal.submit(size(4, 40), callers=50, at_once=2))
    entries = list(market.journal.entries)
    market.tended(asyncio.wait_for(_all(market.journal.abuse(entry) for entry in entries * 10), 60))
    assert market.journal.refused == 10 * len(entries), "another body under a used key is refused, always"
    market.settle()
    market.check()


def test_a_stream_that_breaks_goes_on_where_it_was(plane: ControlPlane, scene: Callable[..., Scene]) -> None:
    market = scene()
    market.tended(market.journal.submit(1))
    job_id = next(iter(market.journal.job_ids))
    run = market.plane.until(lambda: [r for a in market.agents for r in a.runs.values()], 30, "a run")[0]
    assert run.job_id == job_id
    plane.arm(api=f"api.stream.mid=kill*{BREAKS}")
    for _ in range(BREAKS):
        assert market.tended(_follow(market, job_id)) == run.log.decode()
    assert plane.fired()["api.stream.mid"] == BREAKS
    market.settle()
    market.check(kills=BREAKS)


async def _follow(market: Scene, job_id: str) -> str:
    """The log's text, read to its end over as many connections as it takes."""
    headers, place, texts, ended = {"Authorization": f"Bearer {market.token}"}, None, [], False
    async with httpx.AsyncClient(base_url=market.plane.url, headers=headers, timeout=20) as http:
        while not ended:
            more = {"Last-Event-ID": place} if place else {}
            try:
                async with aconnect_sse(http, "GET", f"/v1/jobs/{job_id}/logs", headers=more) as source:
                    async for event in source.aiter_sse():
                        place = event.id or place
                        ended = event.event == "end"
                        texts += [json.loads(event.data)["text"]] if event.event == "log" else []
            except httpx.HTTPError:
                await asyncio.sleep(0.05)
    return "".join(texts)


async def _all(works: object) -> None:
    await asyncio.gather(*works)  # type: ignore[misc]
