"""FAULTS.md row 11: readings doubled, reordered, overlapping and forged, over the real portal, bus and consumer.

And PostgreSQL and the consumer killed under load: what a node was told is durable is in the rows for good.
"""

import random
from collections.abc import Callable

import httpx
import pytest
from agents import Agent, Run
from plane import ControlPlane
from scene import Scene
from soak_size import size

from market.agent_api import SIGNATURE_HEADER
from market.canonical import canonical_json
from market.readings import Reading
from market.signing import REPORT_TAG, NodeKey

JOBS = size(12, 400)
KILLS, JOBS_A_KILL = size(5, 100), 16
_STORED = "SELECT count(*) FROM readings"
_OF_STREAM = "SELECT count(*) FROM readings WHERE stream_id = :stream AND sequence <= :through"
_REFUSED = "SELECT coalesce(sum(count), 0) FROM reading_refusals WHERE cause = 'foreign_lease' AND node_id = :node"


def test_sums_are_exact_and_what_is_forged_is_refused(plane: ControlPlane, scene: Callable[..., Scene]) -> None:
    market = scene()
    market.tended(market.journal.submit(JOBS))
    market.settle()
    first, other = market.agents[0], market.agents[1]
    runs = [run for run in first.runs.values() if run.job_id in market.journal.job_ids]
    assert runs
    market.tended(_repeat(first, runs))
    statuses = market.tended(_forge(first, other, runs))
    assert statuses == {403}, "a signature that is not the node's, and a report in another's name"
    foreign = market.tended(_send(other, other.key, [_inflated(run) for run in runs]))
    assert foreign == 200, "signed by who sends it: the lease decides"
    plane.until(
        lambda: market.count(_REFUSED, node=other.node_id) == len(runs), 30, "each of them refused, and counted"
    )
    market.tended(market.journal.submit(JOBS))
    market.settle()
    market.check()


@pytest.mark.timeout(3600)
def test_kills_of_postgresql_and_of_the_consumer_under_load_lose_no_reading(
    plane: ControlPlane, scene: Callable[..., Scene]
) -> None:
    market = scene()
    for number in range(KILLS):
        before = market.count(_STORED)
        load = market.run(market.journal.submit(JOBS_A_KILL, at_once=4))
        plane.until(lambda before=before, load=load: market.count(_STORED) > before or load.done(), 30, "readings")
        # Turn about, so that each is also away while the other is not.
        for kill in (_kill_consumer, _kill_postgresql)[:: 1 if number % 2 else -1]:
            kill(plane)
        told = {run.stream_id: run.durable for run in _runs(market)}
        missing = [stream for stream, through in told.items() if _kept(market, stream, through) < through]
        assert not missing, "told to be durable, and so trimmed, but not there"
        plane.until(load.done, 60, "every answer")
    market.settle()
    assert all(_kept(market, run.stream_id, len(run.readings)) == len(run.readings) for run in _runs(market))
    market.check(kills=2 * KILLS, readings=market.count(_STORED))


def _kill_consumer(plane: ControlPlane) -> None:
    plane.parts["consumer"].kill()
    plane.parts["consumer"].start()


def _kill_postgresql(plane: ControlPlane) -> None:
    plane.database.kill()
    plane.database.start()


def _runs(market: Scene) -> list[Run]:
    return [run for agent in market.agents for run in agent.runs.values()]


def _kept(market: Scene, stream: str, through: int) -> int:
    return market.count(_OF_STREAM, stream=stream, through=through)


async def _repeat(agent: Agent, runs: list[Run]) -> None:
    """All readings again, doubled, overlapping and in no order."""
    order = random.Random(1)
    for run in runs:
        readings = [*run.readings, *run.readings]
        order.shuffle(readings)
        assert await _send(agent, agent.key, readings) == 200


async def _forge(agent: Agent, other: Agent, runs: list[Run]) -> set[int]:
    """The statuses of reports that the node never signed."""
    stranger = NodeKey.generate()
    sent = [await _send(agent, stranger, [_inflated(run)]) for run in runs]
    sent += [await _send(agent, agent.key, [_inflated(run)], named=other.node_id) for run in runs]
    return set(sent)


async def _send(agent: Agent, key: NodeKey, readings: list[Reading], named: str | None = None) -> int:
    report = {"node_id": named or agent.node_id, "sent_at_ms": 0, "statuses": []}
    body = canonical_json({**report, "readings": [reading.model_dump() for reading in readings]})
    headers = {**agent.headers, SIGNATURE_HEADER: key.sign(REPORT_TAG, body)}
    async with httpx.AsyncClient(base_url=agent.url, timeout=20) as http:
        return (await http.post("/agent/v1/reports", content=body, headers=headers)).status_code


def _inflated(run: Run) -> Reading:
    """A reading of that lease that would cost a day."""
    last = run.readings[-1]
    return last.model_copy(update={"sequence": last.sequence + 1, "run_ms": 86_400_000, "previous_hash": last.hash})
