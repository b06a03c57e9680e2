"""Topics: a wake-up reaches whoever waits for it, and a cache that is away costs time but no truth."""

import asyncio
import socket
import time

import redis

from infra.wakeups import Waker
from portal_api.topics import BLIND_SECONDS, Topics

BOUND_SECONDS = 10.0


async def _connected(topics: Topics) -> None:
    topics.start()
    for _ in range(int(BOUND_SECONDS * 100)):
        if topics.connected:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the topics never connected")


def test_a_wake_up_reaches_its_waiters_and_nobody_else(valkey_url: str, cache: redis.Redis) -> None:
    async def scenario() -> None:
        topics = Topics(valkey_url, "gridbay:wake")
        await _connected(topics)
        with topics.watch("job:1", "log:1") as mine, topics.watch("job:2") as other:
            other.event.clear()
            mine.event.clear()
            Waker(cache, "gridbay:wake")(["log:1", "node:9"])
            assert await mine.wait(BOUND_SECONDS)
            assert not other.event.is_set()
        await topics.stop()

    asyncio.run(scenario())


def test_who_waits_where_it_was_committed_is_woken_once_and_the_others_through_the_cache(
    valkey_url: str, cache: redis.Redis
) -> None:
    async def scenario() -> None:
        waker = Waker(cache, "gridbay:wake")
        here, elsewhere = Topics(valkey_url, "gridbay:wake", own=waker.name), Topics(valkey_url, "gridbay:wake")
        await _connected(here)
        await _connected(elsewhere)
        waker.listen(here.wake_soon)
        with here.watch("job:1") as mine, elsewhere.watch("job:1", "job:2") as other:
            for watch in (mine, other):
                watch.event.clear()
            await asyncio.to_thread(waker, {"job:1"})
            assert await mine.wait(BOUND_SECONDS)
            assert await other.wait(BOUND_SECONDS)
            with here.watch("job:3") as later:
                later.event.clear()
                mine.event.clear()
                await asyncio.to_thread(waker, {"job:1"})
                assert await mine.wait(BOUND_SECONDS)
                assert await other.wait(BOUND_SECONDS)
                # Heard through the cache like the first, and after it.
                await asyncio.to_thread(Waker(cache, "gridbay:wake"), {"job:3"})
                assert await later.wait(BOUND_SECONDS)
            assert not mine.event.is_set()
        waker.stop()
        with elsewhere.watch("job:4") as late:
            late.event.clear()
            await asyncio.to_thread(waker, {"job:4"})
            assert await late.wait(BOUND_SECONDS), "who commits after the end tells it itself"
        for topics in (here, elsewhere):
            await topics.stop()

    asyncio.run(scenario())


def test_without_the_cache_those_are_woken_who_wait_where_it_was_committed() -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            url = f"redis://127.0.0.1:{closed.getsockname()[1]}"
        waker = Waker(redis.Redis.from_url(url), "gridbay:wake")
        topics = Topics(url, "gridbay:wake", own=waker.name)
        topics.start()
        waker.listen(topics.wake_soon)
        with topics.watch("job:1") as watch:
            watch.event.clear()
            await asyncio.to_thread(waker, {"job:1"})
            await asyncio.wait_for(watch.event.wait(), BOUND_SECONDS)
        await asyncio.to_thread(waker.stop)
        await topics.stop()

    asyncio.run(scenario())


def test_what_is_told_between_watching_and_waiting_is_not_missed() -> None:
    async def scenario() -> None:
        topics = Topics("redis://127.0.0.1:1", "gridbay:wake")
        topics.connected = True
        with topics.watch("job:1") as watch:
            topics.wake(["job:1"])
            began = time.monotonic()
            assert await watch.wait(BOUND_SECONDS)
            assert time.monotonic() - began < BLIND_SECONDS
            assert not await watch.wait(0.01), "a nudge is used up by the look it caused"

    asyncio.run(scenario())


def test_a_watch_that_is_left_leaves_nothing_behind() -> None:
    topics = Topics("redis://127.0.0.1:1", "gridbay:wake")
    with topics.watch("job:1"), topics.watch("job:1", "job:2"):
        assert set(topics._watches) == {"job:1", "job:2"}
    assert topics._watches == {}


def test_without_the_cache_a_waiter_looks_again_soon() -> None:
    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            port = closed.getsockname()[1]
        topics = Topics(f"redis://127.0.0.1:{port}", "gridbay:wake")
        topics.start()
        with topics.watch("job:1") as watch:
            began = time.monotonic()
            assert await watch.wait(BOUND_SECONDS), "told to look again, though nothing was heard"
            assert time.monotonic() - began < BOUND_SECONDS / 2
        await topics.stop()

    asyncio.run(scenario())
