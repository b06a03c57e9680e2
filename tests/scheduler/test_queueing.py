"""The queue over rows: turns are taken where some compete, whatever the queue's length, and places stay held."""

from datetime import timedelta
from typing import Any

import pytest
from market_world import World
from sqlalchemy import select

from infra.database import Database
from market.clock import ManualClock
from market.ids import new_id
from market.specs import parse_job_spec
from market.states import Reason
from scheduler.placement.queue.turns import PATIENCE_SECONDS
from scheduler.rounds import holdings, placing, queueing
from scheduler.rounds.queueing import Walk
from scheduler.tables import Attempt, Job, Node, OrganizationShare, QueueMark
from scheduler.work import jobs
from scheduler.work.jobs import NewJob

H100 = "NVIDIA H100"


@pytest.fixture(autouse=True)
def _nothing_known() -> None:
    holdings.forget()


def submit(world: World, organization_id: str, gpus: int = 1, **spec: Any) -> str:
    """A job of an organization, a moment after the one before."""
    world.clock.advance(timedelta(seconds=1))
    parsed = parse_job_spec({"run": "true", "resources": {"gpu": gpus}, **spec})
    job = NewJob(new_id("job"), organization_id, parsed, None, 1_000_000, 900)
    jobs.submit(world.session, [job], world.clock.now())
    return job.job_id


def end(world: World, job_id: str) -> None:
    """A job runs and ends, and a moment passes."""
    attempt = world.newest(job_id).id
    world.report(attempt, "running")
    world.report(attempt, "exited", exit_code=0)
    world.clock.advance(holdings.KEPT_FOR)


def placed(world: World) -> list[str]:
    """The jobs of one round, in the order of their submission."""
    before = set(world.session.scalars(select(Attempt.job_id)))
    world.place()
    after = select(Attempt.job_id).join(Job, Job.id == Attempt.job_id).order_by(Job.created_at)
    return [job_id for job_id in world.session.scalars(after) if job_id not in before]


def test_the_next_turn_is_that_of_the_organization_that_holds_least(world: World) -> None:
    world.node([H100] * 3)
    heavy = [submit(world, "org_heavy") for _ in range(6)]
    assert placed(world) == heavy[:3]
    light = submit(world, "org_light")
    end(world, heavy[0])
    assert placed(world) == [light]


def test_priority_counts_within_an_organization(world: World) -> None:
    world.node([H100])
    first, usual, urgent = submit(world, "org_a"), submit(world, "org_a"), submit(world, "org_a", priority=5)
    assert placed(world) == [urgent]
    end(world, urgent)
    assert placed(world) == [first]
    assert world.row(usual).reason is Reason.QUEUED_FOR_CAPACITY


def test_lost_nodes_work_is_placed_first(world: World) -> None:
    world.node([H100])
    ahead, lost = submit(world, "org_a"), submit(world, "org_b")
    world.row(lost).reason = Reason.RECOVERING_PROVIDER_LOST
    assert placed(world) == [lost]
    assert world.row(ahead).reason is Reason.QUEUED_FOR_CAPACITY


def test_an_organization_at_its_ceiling_waits_and_is_told(world: World) -> None:
    world.node([H100] * 4)
    now = world.clock.now()
    world.session.add(
        OrganizationShare(organization_id="org_a", weight_milli=1000, quota_gpus=0, ceiling_gpus=2, changed_at=now)
    )
    mine = [submit(world, "org_a") for _ in range(3)]
    assert placed(world) == mine[:2]
    assert world.row(mine[2]).detail == queueing.OVER_CEILING


def test_a_large_job_that_is_passed_over_gets_its_place_held_and_then_starts(world: World) -> None:
    node = world.node([H100] * 2)
    first = submit(world, "org_a"), submit(world, "org_a")
    assert placed(world) == list(first)
    large = submit(world, "org_a", gpus=2)
    small = [submit(world, "org_a") for _ in range(4)]
    end(world, first[0])
    assert placed(world) == [small[0]]
    end(world, first[1])
    assert placed(world) == [small[1]]
    world.clock.advance(timedelta(seconds=PATIENCE_SECONDS))
    end(world, small[0])
    assert placed(world) == []
    assert world.session.get_one(QueueMark, large).held_nodes == [node.id]
    late = submit(world, "org_b")
    assert placed(world) == []
    end(world, small[1])
    assert placed(world) == [large]
    assert world.row(late).reason is Reason.QUEUED_FOR_CAPACITY
    assert queueing.forget(world.session) == 1


def test_a_queue_longer_than_a_round_is_gone_through_by_turns(database: Database, clock: ManualClock) -> None:
    with database.transaction() as session:
        world = World(session, clock)
        world.node([H100] * 4)
        for _ in range(12):
            submit(world, "org_heavy")
        light = [submit(world, "org_light") for _ in range(2)]
    assert placing.run(database, clock, limit=3) == 4
    with database.read() as session:
        attempted = select(Job.organization_id).join(Attempt, Attempt.job_id == Job.id)
        assert sorted(session.scalars(attempted)) == ["org_heavy"] * 2 + ["org_light"] * 2
        assert {session.get_one(Job, job_id).reason for job_id in light} == {Reason.PLACED}
        waiting = select(Job.reason).where(Job.reason != Reason.PLACED)
        assert set(session.scalars(waiting)) == {Reason.QUEUED_FOR_CAPACITY}


def test_a_walk_reads_a_page_at_a_time_and_says_when_it_is_done(world: World) -> None:
    wanted = [submit(world, "org_a", budget={"max_price": 1}) for _ in range(5)]
    walk = Walk(2)
    pages = []
    while not walk.done:
        pages.append([job.id for job in walk.page(world.session)])
    assert pages == [wanted[:2], wanted[2:4], wanted[4:]]
    assert world.session.scalars(select(Node)).all() == []
