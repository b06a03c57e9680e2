"""Schedulers killed at every step of a round, two at a time: what is committed is whole, nothing is leased twice."""

import multiprocessing
import os
from collections import Counter
from datetime import timedelta
from itertools import cycle, islice
from signal import SIGKILL

import pytest
from market_world import World
from soak_size import size, write_figures
from sqlalchemy import func, select, text

from infra.database import Database
from market import failpoints
from market.clock import ManualClock, SystemClock
from market.states import JobState
from scheduler.rounds import placing, records
from scheduler.tables import Attempt, Job, Lease, LeaseGpu, Node, PlacementRound
from scheduler.upkeep import reconcile

H100 = "NVIDIA H100"
STEPS = ("begun", "decided", "granted", "published", "committed")
TRIES = size(20, 200)
NODES, GPUS, JOBS_A_TRY, ROUND = 4, 8, 6, 2


def scheduler(url: str, armed: str) -> None:
    """A scheduler of its own process: rounds until the queue's end, unless it is killed."""
    os.environ[failpoints.VARIABLE] = armed
    failpoints.arm()
    database = Database(url, pool_size=1)
    placing.run(database, SystemClock(), limit=ROUND)
    database.dispose()


@pytest.mark.timeout(3600 if TRIES > 20 else 120)
def test_whatever_step_a_scheduler_is_killed_at_what_is_committed_is_whole(
    database: Database, postgres_url: str, clock: ManualClock
) -> None:
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["scheduler.rounds.placing", "gridbay.processes.contexts"])
    with database.transaction() as session:
        world = World(session, clock)
        for _ in range(NODES):
            world.node([H100] * GPUS)
    killed: Counter[str] = Counter()
    for turn, step in enumerate(islice(cycle(STEPS), TRIES)):
        with database.transaction() as session:
            world = World(session, clock)
            _end_everything(world)
            for _ in range(JOBS_A_TRY):
                clock.advance(timedelta(milliseconds=1))
                world.job(resources={"gpu": 1 + turn % 3})
        armed = f"scheduler.round.{step}=kill@{1 + turn // len(STEPS) % 2}"
        both = [processes.Process(target=scheduler, args=(postgres_url, how)) for how in (armed, "")]
        for process in both:
            process.start()
        for process in both:
            process.join(60)
        killed[step] += both[0].exitcode == -SIGKILL
        assert both[1].exitcode == 0
        _check(database, clock)
    write_figures("rounds killed", {"tries": TRIES, "killed": dict(killed)})
    # Where the other one was quicker there was no second round to be killed in.
    assert killed.total() >= TRIES // 2 and set(killed) == set(STEPS)


def _end_everything(world: World) -> None:
    for attempt_id in world.session.scalars(select(Attempt.id).join(Lease).where(Lease.released_at.is_(None))).all():
        world.report(attempt_id, "exited", exit_code=0)


def _check(database: Database, clock: ManualClock) -> None:
    # What the one that lived had passed over, because the other had it locked, is for the next round.
    placing.run(database, clock, limit=ROUND)
    with database.read() as session:
        held = session.scalars(select(LeaseGpu.gpu_id).where(LeaseGpu.released_at.is_(None))).all()
        assert len(held) == len(set(held))
        live = select(func.count()).select_from(Lease).where(Lease.released_at.is_(None))
        placed = select(func.count()).select_from(Job).where(Job.state == JobState.PLACED)
        assert session.scalar(live) == session.scalar(placed) == JOBS_A_TRY
        assert session.scalar(select(func.max(Job.attempts_placed))) == 1
        assert session.scalar(select(func.count()).select_from(Job).where(Job.state == JobState.QUEUED)) == 0
        leaked = "SELECT count(*) FROM leases l LEFT JOIN attempts a ON a.id = l.attempt_id WHERE a.id IS NULL"
        assert session.scalar(text(leaked)) == 0
        assert session.scalar(select(func.count()).select_from(Node)) == NODES
        newest = session.scalars(select(PlacementRound.id).order_by(PlacementRound.id.desc()).limit(3))
        assert all(records.replay(session, round_id).agrees for round_id in newest)
    with database.transaction() as session:
        assert reconcile.reconcile(session, clock.now()) == []
