"""The tasks: asked once or often, they bring the market to where its rows say it should be."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
import redis
from market_world import World
from redis.backoff import NoBackoff
from redis.retry import Retry

from infra.database import Database
from infra.pace import Pace
from infra.settings import Settings
from market.clock import ManualClock
from market.states import JobState, Reason
from scheduler import tasks
from scheduler.rounds import placing
from scheduler.tables import Job
from scheduler.upkeep import listening

# Celery warns of the attribute by which infra.bus.tasks names a task's queue.
pytestmark = pytest.mark.filterwarnings(r"ignore:\s*The 'queue' task attribute:DeprecationWarning")

WISH = "gridbay:wake:scheduler.place"


@pytest.fixture
def ground(
    database: Database, clock: ManualClock, cache: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> SimpleNamespace:
    base = SimpleNamespace(database=database, clock=clock, cache=cache, settings=Settings())
    monkeypatch.setattr(tasks, "ground", lambda: base)
    return base


def state(database: Database, job_id: str) -> tuple[JobState, Reason]:
    with database.read() as session:
        job = session.get_one(Job, job_id)
        return job.state, job.reason


def test_place_takes_the_merged_wish_away_and_places_what_is_queued(ground: SimpleNamespace) -> None:
    with ground.database.transaction() as session:
        world = World(session, ground.clock)
        world.node()
        job_id = world.job()
    ground.cache.set(WISH, "1")
    for _ in range(2):
        tasks.place()
        assert state(ground.database, job_id) == (JobState.PLACED, Reason.PLACED)
    assert ground.cache.get(WISH) is None


def test_a_round_waits_for_its_pace_before_it_takes_the_wish_away(
    ground: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[tuple[float, bool]] = []
    moment = [0.0]
    pace = Pace(1.0, lambda: moment[0])
    monkeypatch.setattr(tasks, "_rounds", pace)
    monkeypatch.setattr(tasks.time, "sleep", lambda s: waited.append((s, ground.cache.exists(WISH) == 1)))
    ground.cache.set(WISH, "1")
    with pace.piece():
        moment[0] = 0.02
    moment[0] = 0.03
    tasks.place()
    assert waited == [(pytest.approx(0.01), True)]


def test_place_works_without_its_cache(ground: SimpleNamespace) -> None:
    ground.cache = redis.Redis(port=1, retry=Retry(NoBackoff(), 0))
    tasks.place()


def test_the_sweep_loses_silent_nodes_and_stops_what_is_due(ground: SimpleNamespace) -> None:
    with ground.database.transaction() as session:
        world = World(session, ground.clock)
        world.node()
        job_id = world.job()
        world.place()
    for _ in range(4):
        with ground.database.transaction() as session:
            listening.note(session, ground.clock.now())
        tasks.sweep_all()
        ground.clock.advance(timedelta(seconds=14))
    assert state(ground.database, job_id) == (JobState.QUEUED, Reason.RECOVERING_PROVIDER_LOST)


def test_a_run_that_takes_too_long_leaves_the_rest_to_the_next(ground: SimpleNamespace) -> None:
    with ground.database.transaction() as session:
        world = World(session, ground.clock)
        world.node()
        for _ in range(3):
            world.job(resources={"cpu": 1})
            ground.clock.advance(timedelta(milliseconds=1))
    assert placing.run(ground.database, ground.clock, limit=2, seconds_max=0) == 2
    assert placing.run(ground.database, ground.clock, limit=2) == 1
