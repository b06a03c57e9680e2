"""Following a job: no byte of a log is lost or doubled, however it is cut, and a stream ends when it should."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from httpx_sse import ServerSentEvent
from httpx_sse._decoders import SSEDecoder
from hypothesis import given
from hypothesis import strategies as st
from portal_world import Customer, Node, PortalWorld

from market.agent_api import AttemptStatus
from market.customer_api import Once
from market.errors import Unauthenticated
from portal_api import job_streams
from portal_api.job_streams import LogPlace, await_job, decoded, follow_job, follow_log, place_after
from portal_api.streams import StreamCounter

pytestmark = pytest.mark.anyio
AWKWARD = "größe 🚀 日本\n".encode() + b"\xff\xfe\xc3" + "ende é".encode() + b"\xf0\x9f"
"""Characters of two to four bytes, bytes that are none, and a cut one at the end."""


@dataclass
class Log:
    """What a reader of the stream has: its events, and the text of each attempt."""

    events: list[ServerSentEvent]

    @property
    def ids(self) -> list[str]:
        return [event.id for event in self.events if event.event == "log"]

    def text(self, attempt: int = 1) -> str:
        lines = [json.loads(event.data) for event in self.events if event.event == "log"]
        return "".join(line["text"] for line in lines if line["attempt_number"] == attempt)

    @property
    def end(self) -> dict[str, Any] | None:
        last = self.events[-1] if self.events else None
        return dict(json.loads(last.data)) if last is not None and last.event == "end" else None


def _parse(text: str) -> Log:
    decoder = SSEDecoder()
    found = [decoder.decode(line) for line in text.split("\n")]
    return Log([event for event in found if event is not None and event.data])


async def _read(customer: Customer, job_id: str, after: str | None = None, **query: Any) -> Log:
    headers = {"Last-Event-ID": after} if after is not None else {}
    answer = await customer.get(f"/v1/jobs/{job_id}/logs", headers=headers, params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    return _parse(answer.text)


async def _wrote(node: Node, attempt_id: str, data: bytes, size: int) -> None:
    for start in range(0, len(data), size):
        assert await node.log(attempt_id, start, data[start : start + size]) == min(start + size, len(data))


@given(data=st.binary(max_size=40) | st.text(max_size=20).map(str.encode), cuts=st.lists(st.integers(0, 40)))
def test_however_a_log_is_cut_the_texts_add_up(data: bytes, cuts: list[int]) -> None:
    text, done = "", 0
    for cut in sorted(min(cut, len(data)) for cut in cuts):
        piece, size = decoded(data[done : max(cut, done)], complete=False)
        text, done = text + piece, done + size
    rest, size = decoded(data[done:], complete=True)
    assert done + size == len(data)
    assert text + rest == data.decode("utf-8", "replace")


@pytest.mark.parametrize("event_bytes", [1, 5, 64 * 1024])
async def test_a_reader_that_comes_back_misses_and_repeats_nothing(
    world: PortalWorld, monkeypatch: pytest.MonkeyPatch, event_bytes: int
) -> None:
    monkeypatch.setattr(job_streams, "EVENT_BYTES_MAX", max(event_bytes, 4))
    node, customer = await world.node(), await world.customer()
    job_id, attempt_id = await world.placed(customer)
    await _wrote(node, attempt_id, AWKWARD, event_bytes)
    await world.exited(node, attempt_id)
    whole = await _read(customer, job_id)
    assert whole.text() == AWKWARD.decode("utf-8", "replace")
    assert whole.ids[-1] == f"1:{len(AWKWARD)}"
    assert whole.end is not None and whole.end["state"] == "succeeded"
    for count, place in enumerate(whole.ids, 1):
        rest = await _read(customer, job_id, after=place)
        assert [event.data for event in rest.events[:-1]] == [event.data for event in whole.events[count:-1]]
    assert (await _read(customer, job_id, after="1:999999")).ids == []


async def test_the_logs_of_all_attempts_follow_each_other(world: PortalWorld) -> None:
    node, customer = await world.node(), await world.customer()
    job_id, first = await world.placed(customer, retry={"on": ["failure"], "max_attempts": 2})
    await _wrote(node, first, b"first try\n", 4)
    await node.report(AttemptStatus(attempt_id=first, state="exited", exit_code=3))
    world.deliver()
    world.settle()
    world.place()
    second = (await customer.get(f"/v1/jobs/{job_id}")).json()["attempts"][-1]["attempt_id"]
    assert second != first
    await _wrote(node, second, b"second\n", 100)
    await world.exited(node, second)
    log = await _read(customer, job_id)
    assert (log.text(1), log.text(2)) == ("first try\n", "second\n")
    assert log.ids[-1] == "2:7" and log.end is not None and log.end["exit_code"] == 0
    assert (await _read(customer, job_id, after="1:10")).text(2) == "second\n"


async def _always() -> None:
    return None


async def _next(frames: AsyncIterator[bytes]) -> ServerSentEvent:
    """The next event that says something."""
    async with asyncio.timeout(10):
        async for frame in frames:
            if events := _parse(frame.decode()).events:
                return events[0]
    raise AssertionError("the stream ended")


async def test_a_followed_log_arrives_as_it_is_written(world: PortalWorld) -> None:
    node, customer = await world.node(), await world.customer()
    job_id, attempt_id = await world.placed(customer)
    frames = follow_log(world.portal, customer.organization_id, job_id, LogPlace(1, 0), allowed=_always, wait=True)
    for count in range(3):
        waiting = asyncio.create_task(_next(frames))
        await world.watched(f"log:{job_id}")
        await node.log(attempt_id, count * 2, b"x\n")
        assert (await waiting).id == f"1:{count * 2 + 2}"
    last = asyncio.create_task(_next(frames))
    await world.exited(node, attempt_id)
    assert (await last).event == "end"
    assert [frame async for frame in frames] == []
    assert f"log:{job_id}" not in world.portal.topics._watches


async def test_what_is_there_now_can_be_read_without_waiting(world: PortalWorld) -> None:
    node, customer = await world.node(), await world.customer()
    job_id, attempt_id = await world.placed(customer)
    await _wrote(node, attempt_id, b"so far", 100)
    log = await _read(customer, job_id, follow=False)
    assert log.text() == "so far" and log.end is not None and log.end["state"] == "placed"


async def test_a_job_is_shown_at_each_change_until_it_is_billed(world: PortalWorld) -> None:
    node, customer = await world.node(), await world.customer()
    job_id, attempt_id = await world.placed(customer)
    frames = follow_job(world.portal, customer.organization_id, job_id, allowed=_always)
    assert json.loads((await _next(frames)).data)["state"] == "placed"
    waiting = asyncio.create_task(_next(frames))
    await world.watched(f"job:{job_id}")
    await node.report(AttemptStatus(attempt_id=attempt_id, state="running"))
    assert json.loads((await waiting).data)["state"] == "running"
    await world.exited(node, attempt_id)
    ended = json.loads((await _next(frames)).data)
    assert (ended["state"], ended["billed"]) == ("succeeded", False)
    world.settle()
    rest = [_parse(frame.decode()).events for frame in [item async for item in frames]]
    assert json.loads([events for events in rest if events][-1][0].data)["billed"] is True


async def test_who_waits_for_the_end_alone_is_told_of_it_at_once_and_of_nothing_else(
    world: PortalWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_streams, "LOOK_AGAIN_SECONDS", 3600.0)
    node, customer = await world.node(), await world.customer()
    job_id, attempt_id = await world.placed(customer)
    over, billed = (
        asyncio.create_task(_all(await_job(world.portal, customer.organization_id, job_id, allowed=_always, once=once)))
        for once in Once
    )
    await world.watched(f"over:{job_id}", 2)
    await node.report(AttemptStatus(attempt_id=attempt_id, state="running"))
    await world.exited(node, attempt_id)
    (ended,) = _parse(b"".join(await over).decode()).events
    assert (json.loads(ended.data)["state"], json.loads(ended.data)["billed"]) == ("succeeded", False)
    assert not billed.done()
    await asyncio.to_thread(world.settle)
    (ended,) = _parse(b"".join(await billed).decode()).events
    assert json.loads(ended.data)["billed"] is True


async def test_a_stream_ends_when_its_token_is_no_longer_good(world: PortalWorld) -> None:
    await world.node()
    customer = await world.customer()
    job_id, _ = await world.placed(customer)
    allowed = [True]

    async def check() -> None:
        if not allowed[0]:
            raise Unauthenticated("revoked")

    frames = follow_job(world.portal, customer.organization_id, job_id, allowed=check)
    await _next(frames)
    allowed[0] = False
    world.portal.topics.wake([f"job:{job_id}"])
    async with asyncio.timeout(10):
        assert [item async for item in frames if item] == []


async def test_streams_end_when_the_portal_stops(world: PortalWorld) -> None:
    await world.node()
    customer = await world.customer()
    job_id, _ = await world.placed(customer)
    place = LogPlace(1, 0)
    streams = [
        follow_job(world.portal, customer.organization_id, job_id, allowed=_always),
        follow_log(world.portal, customer.organization_id, job_id, place, allowed=_always, wait=True),
    ]
    reading = [asyncio.create_task(_all(frames)) for frames in streams]
    await world.watched(f"log:{job_id}")
    world.portal.end_waiting()
    async with asyncio.timeout(10):
        await asyncio.gather(*reading)


async def _all(frames: AsyncIterator[bytes]) -> list[bytes]:
    return [frame async for frame in frames]


async def test_an_organization_has_so_many_streams_and_no_more(world: PortalWorld) -> None:
    customer = await world.customer()
    job_id = (await customer.submit(budget={"max_price": "1"})).json()["job_id"]
    world.portal.streams = StreamCounter(per_owner_max=1)
    taken = world.portal.streams.counted(
        customer.organization_id, follow_job(world.portal, customer.organization_id, job_id, allowed=_always)
    )
    await anext(taken)
    async with asyncio.timeout(10):
        refused = await customer.get(f"/v1/jobs/{job_id}/events")
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many")
    await taken.aclose()
    await customer.post(f"/v1/jobs/{job_id}/stop")
    world.deliver()
    assert (await customer.get(f"/v1/jobs/{job_id}/events")).status_code == 200


def test_an_event_id_that_is_none_of_ours_is_refused() -> None:
    assert place_after("3:42") == LogPlace(3, 42) and place_after(None) == LogPlace(1, 0)
    for text in ("0:1", "1", "1:-1", "a:b", "1:2:3", "1:" + "9" * 30, "\u0661:\u0662"):
        with pytest.raises(Exception, match="Last-Event-ID"):
            place_after(text)
