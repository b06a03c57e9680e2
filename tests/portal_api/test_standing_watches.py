"""Standing watches: a poll of a node that was told how it is costs no look, and misses nothing that happened since."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from portal_world import PortalWorld

from portal_api.standing_watches import StandingWatches
from portal_api.topics import Topics

pytestmark = pytest.mark.anyio


@contextmanager
def looks(world: PortalWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The versions that polls asked the database about, meanwhile."""
    asked: list[int] = []
    submit = world.portal.polls.submit

    async def counted(poll: object) -> object:
        asked.append(poll.seen_version)  # type: ignore[attr-defined]
        return await submit(poll)  # type: ignore[arg-type]

    monkeypatch.setattr(world.portal.polls, "submit", counted)
    yield asked
    monkeypatch.undo()


async def test_a_node_that_was_told_how_it_is_waits_without_a_look(
    world: PortalWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await world.node()
    seen = (await node.poll())["version"]
    with looks(world, monkeypatch) as asked:
        await node.poll(seen=seen, wait=0.2)
        assert len(asked) == 1, "the one that ends the wait"
        await node.poll(seen=seen - 1, wait=5)
        assert len(asked) == 2, "who was not told that version is answered at once"


async def test_what_happens_between_two_polls_is_told_at_once(world: PortalWorld) -> None:
    node, customer = await world.node(), await world.customer()
    seen = (await node.poll())["version"]
    assert (await customer.submit()).status_code == 201
    with world.portal.topics.watch(f"node:{node.node_id}") as beside:
        await asyncio.to_thread(world.place)
        assert await beside.wait(8)
    async with asyncio.timeout(8):  # It would come back by itself after ten.
        answer = await node.poll(seen=seen, wait=10)
    assert answer["version"] > seen


async def test_a_poll_that_went_away_with_what_it_heard_leaves_the_next_one_to_look() -> None:
    topics = Topics("redis://127.0.0.1:1", "gridbay:wake")
    topics.connected = True
    watches = StandingWatches(topics)
    with watches.of("n1") as standing:
        standing.answered = 7
    with watches.of("n1") as standing:
        assert standing.is_still(7) and not standing.is_still(8)
        standing.answered = None
        topics.wake(["node:n1"])
        assert await standing.watch.wait(5)
    with watches.of("n1") as standing:
        assert not standing.is_still(7)


async def test_each_node_has_one_and_the_oldest_are_given_up() -> None:
    topics = Topics("redis://127.0.0.1:1", "gridbay:wake")
    watches = StandingWatches(topics, most=2)
    for node_id in ("n1", "n2", "n3"):
        with watches.of(node_id), watches.of(node_id):
            assert len(topics._watches[f"node:{node_id}"]) == 2
    assert {topic: len(found) for topic, found in topics._watches.items()} == {"node:n2": 1, "node:n3": 1}
