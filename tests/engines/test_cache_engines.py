"""The cache on every engine: wake-ups reach their market alone, and a mark to merge them goes away by itself."""

import asyncio
import time
from collections.abc import Iterator

import pytest
import redis
from real_engines import forget_keys, new_prefix

from infra.settings import Settings
from infra.wakeups import Waker
from portal_api.topics import Topics

BOUND_SECONDS = 20.0


@pytest.fixture(params=["valkey", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def config(url: str) -> Iterator[Settings]:
    prefix = new_prefix()
    yield Settings(key_prefix=prefix)
    forget_keys(url, prefix)


@pytest.fixture
def client(url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(url) as client:
        yield client


def test_a_wake_up_is_heard_by_its_own_market_alone(url: str, client: redis.Redis, config: Settings) -> None:
    neighbour = Settings(key_prefix=new_prefix())

    async def scenario() -> None:
        ours, theirs = Topics(url, config.key("wake")), Topics(url, neighbour.key("wake"))
        for topics in (ours, theirs):
            topics.start()
        deadline = time.monotonic() + BOUND_SECONDS
        while not (ours.connected and theirs.connected):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
        with ours.watch("job:1") as mine, theirs.watch("job:1") as other:
            mine.event.clear()
            other.event.clear()
            await asyncio.to_thread(Waker(client, config.key("wake")), ["job:1"])
            assert await mine.wait(BOUND_SECONDS)
            # Told last, and heard: what was told before it to somebody else would have been heard too.
            await asyncio.to_thread(Waker(client, neighbour.key("wake")), ["job:2"])
            with theirs.watch("job:3") as last:
                await asyncio.to_thread(Waker(client, neighbour.key("wake")), ["job:3"])
                last.event.clear()
                await asyncio.to_thread(Waker(client, neighbour.key("wake")), ["job:3"])
                assert await last.wait(BOUND_SECONDS)
            assert not other.event.is_set()
        for topics in (ours, theirs):
            await topics.stop()

    asyncio.run(scenario())


def test_a_mark_is_set_once_until_it_is_taken_away_or_expires(client: redis.Redis, config: Settings) -> None:
    key = config.key("wake", "scheduler.place")
    assert client.set(key, 1, nx=True, px=60_000)
    assert not client.set(key, 1, nx=True, px=60_000)
    client.delete(key)
    assert client.set(key, 1, nx=True, px=1)
    deadline = time.monotonic() + BOUND_SECONDS
    while not client.set(key, 1, nx=True, px=1):
        assert time.monotonic() < deadline
    assert client.pttl(key) <= 1


@pytest.mark.parametrize("prefix", ["", "Gridbay", "a b", "a:b", "9a", "a" * 41])
def test_a_prefix_is_a_plain_word(prefix: str) -> None:
    with pytest.raises(ValueError, match="key_prefix"):
        Settings(key_prefix=prefix)
