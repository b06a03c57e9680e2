"""Rounds: what is placed gets a lease the database vouches for, once, and what waits learns why."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from market_world import ORGANIZATION, World, inventory
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import IntegrityError

from infra.database import Database
from market.clock import ManualClock
from market.messages import AttemptPlaced
from market.resources import Unit
from market.specs import parse_job_spec
from market.states import AttemptState, JobState, Reason
from scheduler.rounds import placing
from scheduler.rounds.queueing import Walk
from scheduler.supply import nodes
from scheduler.tables import Attempt, Gpu, Job, Lease, LeaseGpu, Node
from scheduler.tables.leases import WHOLE_GPU
from scheduler.work import desired, jobs, orders
from scheduler.work.jobs import NewJob

H100 = "NVIDIA H100"


def test_a_placed_job_has_an_attempt_a_lease_and_its_gpus_and_its_node_is_told(world: World) -> None:
    node = world.node([H100, H100], gpu_price=250_000)
    version = node.desired_version
    job_id = world.job(resources={"gpu": "H100:2", "cpu": 4, "memory": "8GiB"}, funded_seconds=600)
    assert world.place() == 1
    attempt, record = world.newest(job_id), world.record(job_id)
    lease = world.lease(attempt.id)
    assert (record.state, record.reason, record.attempts_placed) == (JobState.PLACED, Reason.PLACED, 1)
    assert record.attempts[0].node_name == "node"
    assert world.row(job_id).funded_seconds is None
    assert lease.held_until == world.clock.now() + timedelta(seconds=600)
    assert (lease.unit, lease.quantity_milli, lease.price_microusd_per_unit_hour) == (Unit.GPU, 2000, 250_000)
    world.session.refresh(node)
    assert node.cpu_free_milli == node.cpu_total_milli - 4000
    (told,) = world.told(AttemptPlaced)
    assert (told.lease_id, told.held_until, told.attempt_number) == (lease.id, lease.held_until, 1)
    desire = desired.desired_state(world.session, [node.id], world.clock.now())[node.id]
    assert desire.version > version
    assert (desire.attempts[0].attempt_id, desire.attempts[0].held_for_ms) == (attempt.id, 600_000)
    assert len(desire.attempts[0].gpu_uuids) == 2
    order = orders.start(world.session, node.id, attempt.id)
    assert (order.job_id, order.spec.run, order.run_for_seconds) == (job_id, "true", 24 * 3600)


def test_a_gpu_is_never_leased_twice_by_anyone(world: World) -> None:
    world.node([H100])
    world.running(resources={"gpu": 1})
    other = world.running(resources={"cpu": 1})[1]
    held = {"lease_id": world.lease(other).id, "gpu_id": world.session.scalar(select(Gpu.id)), "slice": WHOLE_GPU}
    with pytest.raises(IntegrityError, match="ex_lease_gpus_never_twice"), world.session.begin_nested():
        world.session.execute(insert(LeaseGpu), held)
    with pytest.raises(IntegrityError, match="ck_nodes_cpu_free"), world.session.begin_nested():
        world.session.execute(text("UPDATE nodes SET cpu_free_milli = cpu_free_milli - cpu_total_milli"))


def test_no_more_is_placed_than_fits_and_the_rest_waits_with_its_reason(world: World) -> None:
    world.node([H100, H100])
    waiting = [world.job(resources={"gpu": 1}) for _ in range(3)]
    hopeless = world.job(resources={"gpu": "B200"}, budget={"max_price": 1})
    assert world.place() == 2
    assert [world.row(job_id).reason for job_id in waiting] == [
        Reason.PLACED,
        Reason.PLACED,
        Reason.QUEUED_FOR_CAPACITY,
    ]
    assert world.row(hopeless).reason is Reason.NO_OFFER
    assert "GPUs are taken now" in world.row(waiting[2]).detail
    version = world.row(waiting[2]).version
    assert world.place() == 0
    assert world.row(waiting[2]).version == version


def test_simulated_gpus_go_to_those_who_ask_for_them_and_cost_nothing(world: World) -> None:
    world.node([H100], simulated=True)
    real = world.job(resources={"gpu": 1}, budget={"max_price": 9})
    assert world.place() == 0
    simulated = world.job(resources={"gpu": 1, "simulated": True}, budget={"max_price": 9})
    assert world.place() == 1
    assert world.row(real).state is JobState.QUEUED
    lease = world.lease(world.newest(simulated).id)
    assert (lease.simulated, lease.price_microusd_per_unit_hour) == (True, 0)
    world.node([H100])
    assert world.place() == 1
    assert world.newest(real).state is AttemptState.PLACED


@pytest.mark.parametrize("fault", ["pool", "state", "funds"])
def test_nothing_is_placed_on_a_node_that_is_not_ready_nor_without_money(world: World, fault: str) -> None:
    node = world.node()
    job_id = world.job()
    if fault == "pool":
        nodes.heartbeat(world.session, [nodes.Heartbeat(node.id, "boot", "down")], world.clock.now())
    elif fault == "state":
        world.session.execute(text("UPDATE nodes SET state = 'lost'"))
    else:
        world.session.execute(text("UPDATE jobs SET funded_seconds = NULL"))
    assert world.place() == 0
    assert world.row(job_id).state is JobState.QUEUED


def test_a_long_queue_is_gone_through_to_its_end(database: Database, clock: ManualClock) -> None:
    with database.transaction() as session:
        world = World(session, clock)
        world.node(cpu=4000)
        for _ in range(5):
            world.job(resources={"gpu": "B200"}, budget={"max_price": 1})
            clock.advance(timedelta(milliseconds=1))
        last = world.job()
    assert placing.run(database, clock, limit=2) == 1
    with database.read() as session:
        assert session.get_one(Job, last).state is JobState.PLACED


def test_two_rounds_at_once_place_each_job_once(database: Database, clock: ManualClock) -> None:
    with database.transaction() as session:
        world = World(session, clock)
        for _ in range(4):
            world.node([H100] * 4)
        for _ in range(24):
            world.job(resources={"gpu": 1})
    start = Barrier(2)

    def round_after_round() -> int:
        start.wait(timeout=10)
        return placing.run(database, clock, limit=3)

    with ThreadPoolExecutor(2) as pool:
        placed = [future.result(timeout=60) for future in [pool.submit(round_after_round) for _ in range(2)]]
    with database.read() as session:
        assert sum(placed) == session.scalar(select(func.count()).select_from(Lease)) == 16
        assert session.scalar(select(func.count(func.distinct(Attempt.job_id)))) == 16
        held = session.scalars(select(LeaseGpu.gpu_id)).all()
        assert len(set(held)) == len(held) == 16


def test_a_decision_on_a_node_that_changed_meanwhile_is_dropped(database: Database, clock: ManualClock) -> None:
    with database.transaction() as session:
        world = World(session, clock)
        node = world.node([H100])
        job_id = world.job(resources={"gpu": 1})
    changes = iter([lambda: change(database, node, clock)])
    original = placing._engine.choose

    def choose_late(*arguments: object) -> object:
        choice = original(*arguments)  # type: ignore[arg-type]
        next(changes)()
        return choice

    with pytest.MonkeyPatch.context() as patch, database.transaction() as session:
        patch.setattr(placing._engine, "choose", choose_late)
        assert placing.place(session, clock, Walk(10), seed="s").placed == 0
    with database.read() as session:
        assert session.get_one(Job, job_id).state is JobState.QUEUED


def change(database: Database, node: Node, clock: ManualClock) -> None:
    with database.transaction() as session:
        nodes.update_inventory(session, node.id, inventory(), clock.now())


def test_a_job_id_is_used_once(world: World) -> None:
    again = NewJob(world.job(), ORGANIZATION, parse_job_spec({"run": "other"}), None, 1, 1)
    with pytest.raises(IntegrityError), world.session.begin_nested():
        jobs.submit(world.session, [again], world.clock.now())


def test_rounds_judge_by_the_newest_requests_of_before_their_minute(world: World) -> None:
    recent = placing._Recent()
    minute = timedelta(minutes=1)
    first = world.job()
    assert recent.of(world.session, world.clock.now()) == [], "the minute is not over"
    world.clock.advance(minute)
    known = recent.of(world.session, world.clock.now())
    assert [request.job_id for request in known] == [first]
    second = world.job()
    assert recent.of(world.session, world.clock.now()) is known, "it is read once a minute"
    world.clock.advance(minute)
    assert {request.job_id for request in recent.of(world.session, world.clock.now())} == {first, second}
