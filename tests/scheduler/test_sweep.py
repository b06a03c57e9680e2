"""The sweep: a silent node is lost and its jobs recover, but its GPUs stay held, and nobody is evicted in a mass."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from awaiting import until
from market_world import LIMITS, ORGANIZATION, World
from sqlalchemy import text

from infra.database import Database
from market.clock import ManualClock
from market.messages import AttemptEnded, JobEnded, JobRequeued
from market.states import AttemptState, JobState, Reason
from scheduler.tables import NodeState
from scheduler.upkeep import listening, sweep
from scheduler.upkeep.silence import BRAKE_MAX, Pulse, Verdict, judge
from scheduler.work import desired, jobs, leases
from scheduler.work.locked import lock_attempts

H100 = "NVIDIA H100"
NOON = datetime(2036, 11, 21, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def judged(silence: list[float], pulse: Pulse | None, now: datetime = NOON, deaf: float = 2) -> Verdict:
    """The verdict on nodes that have been silent for so many seconds; deaf: how long the portal has noted nothing."""
    last_seen = {str(index): now - seconds * SECOND for index, seconds in enumerate(silence)}
    return judge(last_seen, pulse, now, now - deaf * SECOND, silent_after=30 * SECOND, brake_share=0.5)


STEADY = Pulse(NOON - 2 * SECOND, NOON - timedelta(hours=1))


@pytest.mark.parametrize(
    ("silence", "lost"),
    [
        ([30, 1, 1], set()),
        ([31, 1, 1], {"0"}),
        ([31], {"0"}),
        ([31, 31], {"0", "1"}),
        ([31, 16, 1, 1], {"0"}),
        ([31, 16, 16, 1], set()),
        ([600, 600, 600, 600], set()),
    ],
)
def test_a_few_silent_nodes_are_lost_and_many_together_are_not(silence: list[float], lost: set[str]) -> None:
    assert judged(silence, STEADY).lost == lost


def test_a_sweep_that_was_away_gives_every_node_time_to_be_heard() -> None:
    for pulse in (None, Pulse(NOON - 16 * SECOND, NOON - timedelta(hours=1))):
        verdict = judged([600, 1, 1], pulse)
        assert (verdict.lost, verdict.pulse.resumed_at) == (set(), NOON)
    later = NOON + 31 * SECOND
    assert judged([631, 1, 1], Pulse(later - 2 * SECOND, NOON), later).lost == {"0"}


def test_after_a_brake_the_rest_have_time_to_be_heard_and_the_brake_does_not_hold_for_ever() -> None:
    braked = judged([600, 600, 600], STEADY).pulse
    assert braked.braked_since == NOON
    soon = NOON + 2 * SECOND
    released = judged([602, 1, 1], braked, soon)
    assert (released.lost, released.pulse.braked_since) == (set(), None)
    end = NOON + BRAKE_MAX + 2 * SECOND
    held = Pulse(end - 2 * SECOND, end - 2 * SECOND, NOON)
    assert judged([2000, 2000, 1], held, end).lost == {"0", "1"}


@pytest.mark.parametrize("silence", [[600], [600, 600], [600] * 9])
def test_nobody_is_lost_to_a_portal_that_was_deaf_and_all_have_time_to_be_heard(silence: list[float]) -> None:
    deaf = judged(silence, STEADY, deaf=16)
    assert (deaf.lost, deaf.pulse) == (set(), Pulse(NOON, NOON))
    for seconds, lost in ((2, False), (30, False), (31, True)):
        # The portal listens again, the sweep never paused, and the nodes stay silent.
        now = NOON + seconds * SECOND
        pulse = Pulse(now - 2 * SECOND, NOON)
        verdict = judged(silence[:2], pulse, now, deaf=2)
        assert bool(verdict.lost) is lost


def test_a_portal_that_never_listened_has_lost_nobody() -> None:
    assert (
        judge({"0": NOON - 600 * SECOND}, STEADY, NOON, None, silent_after=30 * SECOND, brake_share=0.5).lost == set()
    )


def test_an_outage_of_ours_evicts_no_job_however_few_nodes_there_are(world: World) -> None:
    node = world.node()
    job_id, _ = world.running(funded_seconds=3600)
    world.sweep()
    for _ in range(60):
        # The portal is down for ten minutes; the worker's sweep is not.
        world.clock.advance(timedelta(seconds=10))
        sweep.mark_lost(world.session, world.clock.now(), LIMITS)
        sweep.end_lost(world.session, world.clock.now())
    world.pass_time(25)
    assert (node.state, world.record(job_id).state) == (NodeState.ONLINE, JobState.RUNNING)
    world.pass_time(30, node)
    assert len(world.told(AttemptEnded)) == 0
    world.pass_time(40)
    assert node.state is NodeState.LOST, "a node that stays silent is lost after all"


def test_a_job_on_a_silent_node_runs_elsewhere_while_the_old_lease_still_blocks_its_gpus(world: World) -> None:
    first = world.node([H100], gpu_price=1)
    second, _third = world.node([H100], gpu_price=2), world.node(gpu_price=2)
    others = [second, _third]
    job_id, old = world.running(resources={"gpu": 1})
    seen = world.clock.now()
    world.pass_time(30, *others)
    assert world.record(job_id).state is JobState.RUNNING
    world.pass_time(5, *others)
    record = world.record(job_id)
    assert (record.state, record.reason) == (JobState.QUEUED, Reason.RECOVERING_PROVIDER_LOST)
    world.session.refresh(first)
    assert (first.state, world.newest(job_id).state) == (NodeState.LOST, AttemptState.LOST)
    (ended,) = world.told(AttemptEnded)
    assert (ended.ended_at, ended.reason) == (seen, Reason.FAILED_PROVIDER_LOST)
    assert len(world.told(JobRequeued)) == 1
    world.fund(job_id, 900)
    assert world.place() == 1
    new = world.newest(job_id)
    assert (new.number, new.node_id) == (2, second.id)

    world.beat(first)
    assert desired.desired_state(world.session, [first.id], world.clock.now())[first.id].attempts == []
    waiting = world.job(resources={"gpu": 1})
    assert world.place() == 0, "the old lease holds the GPU: the node may still be computing"
    world.pass_time(900 - 35 + 30, first, *others)
    assert world.place() == 0
    world.pass_time(10, first, *others)
    assert world.lease(old).released_at is not None
    assert world.place() == 1
    assert world.newest(waiting).node_id == first.id


def test_late_words_of_a_lost_attempt_change_nothing_but_free_its_gpus(world: World) -> None:
    first, others = world.node([H100]), [world.node([H100], gpu_price=10**6), world.node()]
    job_id, old = world.running(resources={"gpu": 1})
    world.pass_time(35, *others)
    world.fund(job_id, 900)
    world.place()
    new = world.newest(job_id)
    before = world.record(job_id)
    world.beat(first)
    for state, reason in (("running", None), ("exited", Reason.SUCCEEDED), ("exited", Reason.FAILED_EXIT_CODE)):
        assert world.report(old, state, reason, 0) == [old]
        assert world.record(job_id) == before
    assert world.lease(old).released_at is not None
    assert world.lease(new.id).released_at is None
    assert (len(world.told(AttemptEnded)), len(world.told(JobEnded))) == (1, 0)


def test_nobody_is_evicted_when_most_nodes_fall_silent_together(world: World) -> None:
    all_nodes = [world.node() for _ in range(3)]
    job_ids = [world.job(resources={"cpu": 15}) for _ in range(3)]
    world.place()
    world.pass_time(600, all_nodes[0])
    assert {world.record(job_id).state for job_id in job_ids} == {JobState.PLACED}
    world.pass_time(30, *all_nodes)
    assert {node.state for node in all_nodes} == {NodeState.ONLINE}


def test_a_lost_provider_ends_the_job_when_nothing_is_left_to_try(world: World) -> None:
    world.node()
    once = world.running(retry={"max_attempts": 1}, resources={"cpu": 1})[0]
    never = world.running(retry={"on": ["failure"]}, resources={"cpu": 1})[0]
    stopping = world.running(resources={"cpu": 1})[0]
    jobs.request_stop(world.session, ORGANIZATION, stopping, world.clock.now())
    world.pass_time(35)
    for job_id, reason in (
        (once, Reason.FAILED_PROVIDER_LOST),
        (never, Reason.FAILED_PROVIDER_LOST),
        (stopping, Reason.STOPPED_BY_USER),
    ):
        assert world.record(job_id).reason is reason
    assert len(world.told(JobEnded)) == 3


@pytest.mark.parametrize(
    ("max_duration", "state", "reason"),
    [(600, JobState.STOPPED, Reason.STOPPED_MAX_DURATION), (3600, JobState.QUEUED, Reason.RECOVERING_PROVIDER_LOST)],
)
def test_a_lease_that_runs_out_ends_its_attempt_after_the_grace(
    world: World, max_duration: int, state: JobState, reason: Reason
) -> None:
    node = world.node()
    job_id, attempt_id = world.running(funded_seconds=600, max_duration=max_duration)
    until = world.lease(attempt_id).held_until
    world.pass_time(630, node)
    assert world.record(job_id).state is JobState.RUNNING
    world.pass_time(5, node)
    assert (world.record(job_id).state, world.record(job_id).reason) == (state, reason)
    assert world.newest(job_id).state is AttemptState.STOPPED
    assert world.newest(job_id).ended_at == until
    assert world.lease(attempt_id).released_at == world.clock.now()
    world.pass_time(10, node)
    assert len(world.told(AttemptEnded)) == 1


def test_a_node_that_fell_silent_before_its_lease_began_has_not_worked(world: World) -> None:
    world.node()
    world.sweep()
    world.clock.advance(timedelta(seconds=10))
    job_id = world.job()
    world.place()
    granted = world.clock.now()
    world.pass_time(25)
    assert world.told(AttemptEnded)[0].ended_at == granted
    assert world.row(job_id).used_ms == 0


def test_a_node_that_is_heard_after_it_was_judged_is_not_lost(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    node = world.node()
    world.sweep()

    def judge_slowly(*arguments: Any, **limits: Any) -> Verdict:
        verdict = judge(*arguments, **limits)
        world.beat(node)
        return verdict

    world.pass_time(30)
    world.clock.advance(timedelta(seconds=5))
    listening.note(world.session, world.clock.now())
    monkeypatch.setattr(sweep, "judge", judge_slowly)
    assert sweep.mark_lost(world.session, world.clock.now(), LIMITS) == []
    assert node.state is NodeState.ONLINE


def test_a_lease_that_is_extended_while_the_sweep_waits_for_its_job_lives_on(
    database: Database, clock: ManualClock
) -> None:
    with database.transaction() as session:
        world = World(session, clock)
        world.node()
        job_id, attempt_id = world.running(funded_seconds=60)
    clock.advance(timedelta(seconds=100))

    def end_expired() -> int:
        with database.transaction() as session:
            return sweep.end_expired(session, clock.now(), LIMITS)

    with ThreadPoolExecutor(1) as pool:
        with database.transaction() as session:
            work = lock_attempts(session, [attempt_id])[attempt_id]
            leases.extend(session, work.lease, clock.now() + timedelta(seconds=60))
            session.flush()
            sweeping = pool.submit(end_expired)
            wait_until_someone_waits_for_a_lock(database)
        assert sweeping.result(timeout=30) == 1
    with database.read() as session:
        assert World(session, clock).record(job_id).state is JobState.RUNNING


def wait_until_someone_waits_for_a_lock(database: Database) -> None:
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )

    def somebody_waits() -> bool:
        with database.read() as session:
            return bool(session.scalar(waiting))

    until(somebody_waits, "somebody who waits for a lock")


def test_a_node_that_is_lost_for_an_hour_is_gone_and_comes_back_when_it_is_heard(world: World) -> None:
    node = world.node()
    world.pass_time(40)
    world.session.refresh(node)
    assert node.state is NodeState.LOST
    world.clock.advance(timedelta(hours=1, seconds=1))
    sweep.mark_lost(world.session, world.clock.now(), LIMITS)
    world.session.refresh(node)
    assert node.state is NodeState.GONE
    world.beat(node)
    assert node.state is NodeState.ONLINE
