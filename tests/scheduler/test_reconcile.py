"""The reconciler: right rows are left alone; each disagreement, made by hand, is found, said and mended."""

import pytest
from market_world import World
from sqlalchemy import text

from market.messages import JobEnded
from market.states import AttemptState, JobState, Reason
from scheduler.upkeep import reconcile

H100 = "NVIDIA H100"


@pytest.fixture
def busy(world: World) -> World:
    """A market with a running, an ended and a waiting job."""
    world.node([H100])
    world.running(resources={"gpu": 1})
    _, ended = world.running(resources={"cpu": 1})
    world.report(ended, "exited", Reason.SUCCEEDED, 0)
    world.job(resources={"gpu": 1})
    return world


def found(world: World) -> list[str]:
    world.session.flush()
    world.session.expire_all()
    return reconcile.reconcile(world.session, world.clock.now())


def break_it(world: World, statement: str) -> None:
    world.session.flush()
    assert world.session.execute(text(statement)).rowcount >= 1  # type: ignore[attr-defined]


def test_right_rows_are_left_alone(busy: World) -> None:
    assert found(busy) == []


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE leases SET released_at = NULL WHERE released_at IS NOT NULL", "had ended: released"),
        ("UPDATE leases SET released_at = now() WHERE released_at IS NULL", "the lease was released"),
        ("UPDATE nodes SET cpu_free_milli = cpu_free_milli - 1", "counted anew"),
        ("UPDATE nodes SET disk_free_bytes = disk_total_bytes - 1", "counted anew"),
    ],
)
def test_what_is_held_is_what_leases_hold(busy: World, statement: str, said: str) -> None:
    break_it(busy, statement)
    assert any(said in line for line in found(busy))
    assert found(busy) == []


def test_a_job_follows_its_newest_attempt(world: World) -> None:
    world.node([H100])
    job_id, attempt_id = world.running()
    break_it(
        world,
        f"UPDATE attempts SET state = 'succeeded', reason = 'succeeded', ended_at = now() WHERE id = '{attempt_id}'",
    )
    assert len(found(world)) >= 1
    assert world.record(job_id).state is JobState.SUCCEEDED
    assert world.newest(job_id).state is AttemptState.SUCCEEDED
    assert len(world.told(JobEnded)) == 1
    assert found(world) == []
