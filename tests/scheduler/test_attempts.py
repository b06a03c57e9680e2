"""Attempts: only the newest, while it lives, changes its job; what is said twice is said once."""

from datetime import timedelta

import pytest
from market_world import ORGANIZATION, World

from market.agent_api import Action, AttemptStatus, DesiredAttempt
from market.errors import NotFound
from market.messages import AttemptEnded, JobEnded, JobRequeued
from market.states import AttemptState, JobState, Reason
from scheduler.tables import Attempt
from scheduler.work import attempts, desired, jobs, orders
from scheduler.work.retries import Situation, believed, next_step

RETRY = {"on": ["provider_lost", "failure"], "max_attempts": 2}


def wished(world: World, attempt_id: str) -> DesiredAttempt | None:
    """What the attempt's node is told of it."""
    node_id = world.session.get_one(Attempt, attempt_id).node_id
    state = desired.desired_state(world.session, [node_id], world.clock.now())[node_id]
    return next((item for item in state.attempts if item.attempt_id == attempt_id), None)


def test_a_job_runs_and_succeeds_and_its_lease_is_released_at_once(world: World) -> None:
    node = world.node(["NVIDIA H100"])
    job_id, attempt_id = world.running(resources={"gpu": 1})
    assert (world.record(job_id).state, world.record(job_id).started_at) == (JobState.RUNNING, world.clock.now())
    version = world.version(node.id)
    world.clock.advance(timedelta(seconds=90))
    assert world.report(attempt_id, "exited", Reason.SUCCEEDED, 0) == [attempt_id]
    assert world.version(node.id) == version, "the node said so itself and need not be woken"
    record = world.record(job_id)
    assert (record.state, record.exit_code, record.ended_at) == (JobState.SUCCEEDED, 0, world.clock.now())
    assert world.row(job_id).used_ms == 90_000
    assert world.lease(attempt_id).released_at == world.clock.now()
    world.session.refresh(node)
    assert node.cpu_free_milli == node.cpu_total_milli
    assert wished(world, attempt_id) is None
    (ended,) = world.told(AttemptEnded)
    assert (ended.ended_at, ended.reason) == (world.clock.now(), Reason.SUCCEEDED)
    assert [message.state for message in world.told(JobEnded)] == [JobState.SUCCEEDED]
    world.running(resources={"gpu": 1})


def test_a_report_that_comes_twice_changes_nothing_the_second_time(world: World) -> None:
    world.node()
    job_id, attempt_id = world.running()
    world.report(attempt_id, "running")
    first = world.report(attempt_id, "exited", Reason.FAILED_EXIT_CODE, 3)
    before = world.record(job_id)
    world.clock.advance(timedelta(seconds=5))
    assert world.report(attempt_id, "exited", Reason.SUCCEEDED, 0) == first == [attempt_id]
    assert world.report(attempt_id, "running") == [attempt_id]
    assert world.record(job_id) == before
    assert (len(world.told(AttemptEnded)), len(world.told(JobEnded))) == (1, 1)


def test_statuses_of_one_attempt_may_come_together(world: World) -> None:
    world.node()
    job_id = world.job()
    world.place()
    attempt = world.newest(job_id)
    statuses = [
        AttemptStatus(attempt_id=attempt.id, state="running"),
        AttemptStatus(attempt_id=attempt.id, state="exited", exit_code=0),
        AttemptStatus(attempt_id=attempt.id, state="exited", exit_code=0),
    ]
    attempts.report(world.session, attempt.node_id, statuses, world.clock.now())
    assert world.record(job_id).state is JobState.SUCCEEDED
    assert len(world.told(AttemptEnded)) == 1


def test_another_nodes_attempt_is_refused_and_an_unknown_one_forgotten(world: World) -> None:
    world.node()
    job_id, attempt_id = world.running()
    stranger = world.node()
    assert world.report(attempt_id, "exited", Reason.SUCCEEDED, 0, node_id=stranger.id) == []
    assert world.record(job_id).state is JobState.RUNNING
    unknown = AttemptStatus(attempt_id="att_unknown", state="exited", exit_code=0)
    assert attempts.report(world.session, stranger.id, [unknown], world.clock.now()) == ["att_unknown"]
    with pytest.raises(NotFound):
        orders.start(world.session, stranger.id, attempt_id)


@pytest.mark.parametrize(
    "reason", [Reason.FAILED_EXIT_CODE, Reason.FAILED_START, Reason.FAILED_WORKDIR, Reason.FAILED_OUT_OF_MEMORY]
)
def test_a_failure_is_tried_again_as_often_as_the_customer_said(world: World, reason: Reason) -> None:
    world.node()
    job_id = world.job(retry=RETRY, max_duration=100)
    world.place()
    first = world.newest(job_id)
    world.clock.advance(timedelta(seconds=30, milliseconds=1))
    world.report(first.id, "exited", reason, 1)
    assert (world.record(job_id).state, world.record(job_id).reason) == (JobState.QUEUED, Reason.RECOVERING_RETRY)
    (requeued,) = world.told(JobRequeued)
    assert (requeued.attempts_placed, requeued.remaining_seconds) == (1, 69)
    assert world.place() == 0, "it waits for money"
    world.fund(job_id, 69)
    assert world.place() == 1
    second = world.newest(job_id)
    assert (second.number, second.id != first.id) == (2, True)
    assert orders.start(world.session, second.node_id, second.id).run_for_seconds == 69
    world.report(second.id, "exited", reason, 1)
    assert (world.record(job_id).state, world.record(job_id).reason) == (JobState.FAILED, reason)
    assert [message.attempts_placed for message in world.told(JobEnded)] == [2]


def test_a_failure_ends_the_job_when_only_lost_providers_are_retried(world: World) -> None:
    world.node()
    job_id, attempt_id = world.running()
    world.report(attempt_id, "exited", Reason.FAILED_SIGNAL, -1)
    assert world.record(job_id).state is JobState.FAILED


def test_a_queued_job_is_stopped_at_once(world: World) -> None:
    job_id = world.job(budget={"max_price": 1})
    record = jobs.request_stop(world.session, ORGANIZATION, job_id, world.clock.now())
    assert (record.state, record.reason) == (JobState.STOPPED, Reason.STOPPED_BY_USER)
    assert [message.attempts_placed for message in world.told(JobEnded)] == [0]
    assert world.place() == 0


@pytest.mark.parametrize("started", [False, True])
def test_a_job_with_a_lease_is_stopped_through_its_node(world: World, started: bool) -> None:
    node = world.node()
    job_id = world.job()
    world.place()
    attempt_id = world.newest(job_id).id
    if started:
        world.report(attempt_id, "running")
    version = world.version(node.id)
    record = jobs.request_stop(world.session, ORGANIZATION, job_id, world.clock.now())
    assert (record.state, record.reason) == (JobState.STOPPING, Reason.STOPPING_BY_USER)
    assert world.version(node.id) > version
    wish = wished(world, attempt_id)
    assert wish is not None
    assert (wish.action, wish.stop_reason) == (Action.STOP, Reason.STOPPED_BY_USER)
    assert jobs.request_stop(world.session, ORGANIZATION, job_id, world.clock.now()) == record
    world.report(attempt_id, "running")
    assert world.record(job_id).state is JobState.STOPPING
    world.report(attempt_id, "exited", Reason.STOPPED_BY_USER)
    assert (world.record(job_id).state, world.record(job_id).reason) == (JobState.STOPPED, Reason.STOPPED_BY_USER)


@pytest.mark.parametrize("reason", [Reason.SUCCEEDED, Reason.FAILED_EXIT_CODE])
def test_a_job_that_ends_by_itself_while_it_is_stopped_says_so_and_is_not_retried(world: World, reason: Reason) -> None:
    world.node()
    job_id, attempt_id = world.running(retry=RETRY)
    jobs.request_stop(world.session, ORGANIZATION, job_id, world.clock.now())
    world.report(attempt_id, "exited", reason, 0 if reason is Reason.SUCCEEDED else 1)
    assert world.record(job_id).reason is reason
    ended = world.record(job_id)
    assert jobs.request_stop(world.session, ORGANIZATION, job_id, world.clock.now()) == ended


def test_a_stop_of_another_organizations_job_looks_like_a_missing_one(world: World) -> None:
    job_id = world.job(budget={"max_price": 1})
    with pytest.raises(NotFound):
        jobs.request_stop(world.session, "org_other", job_id, world.clock.now())
    assert jobs.get(world.session, [("org_other", job_id)]) == {}
    assert jobs.list_page(world.session, "org_other", limit=9) == []
    assert jobs.get(world.session, [("org_other", job_id), (ORGANIZATION, job_id)]).keys() == {job_id}


@pytest.mark.parametrize(
    ("claimed", "exit_code", "asked", "spent", "written"),
    [
        (Reason.SUCCEEDED, 0, None, False, Reason.SUCCEEDED),
        (Reason.SUCCEEDED, 1, None, False, Reason.FAILED_EXIT_CODE),
        (None, 0, None, False, Reason.SUCCEEDED),
        (Reason.RUNNING, 7, None, False, Reason.FAILED_EXIT_CODE),
        (Reason.STOPPED_BY_USER, None, None, False, Reason.FAILED_PROVIDER_LOST),
        (Reason.STOPPED_BY_USER, None, Reason.STOPPED_BUDGET_EXHAUSTED, False, Reason.STOPPED_BUDGET_EXHAUSTED),
        (Reason.STOPPED_LEASE_EXPIRED, None, None, False, Reason.STOPPED_LEASE_EXPIRED),
        (Reason.STOPPED_LEASE_EXPIRED, None, None, True, Reason.STOPPED_MAX_DURATION),
        (Reason.STOPPED_LEASE_EXPIRED, None, Reason.STOPPED_BY_USER, True, Reason.STOPPED_BY_USER),
        (Reason.STOPPED_MAX_DURATION, None, None, False, Reason.STOPPED_MAX_DURATION),
    ],
)
def test_an_agent_cannot_invent_a_stop_nor_a_success(
    claimed: Reason | None, exit_code: int | None, asked: Reason | None, spent: bool, written: Reason
) -> None:
    assert believed(claimed, exit_code, asked, spent=spent) is written


@pytest.mark.parametrize(
    ("reason", "remaining", "state"),
    [
        (Reason.FAILED_EXIT_CODE, 1, JobState.QUEUED),
        (Reason.FAILED_EXIT_CODE, 0, JobState.FAILED),
        (Reason.FAILED_PROVIDER_LOST, 1, JobState.QUEUED),
        (Reason.FAILED_PROVIDER_LOST, 0, JobState.STOPPED),
        (Reason.STOPPED_MAX_DURATION, 1, JobState.STOPPED),
        (Reason.SUCCEEDED, 1, JobState.SUCCEEDED),
    ],
)
def test_a_new_attempt_needs_time_that_is_left(reason: Reason, remaining: int, state: JobState) -> None:
    both = ["provider_lost", "failure"]
    situation = Situation(reason, None, both, attempts_placed=1, max_attempts=9, remaining_seconds=remaining)
    assert next_step(situation).state is state


def test_no_time_after_a_lease_counts_however_late_its_end_is_told(world: World) -> None:
    world.node()
    job_id, attempt_id = world.running(funded_seconds=60)
    world.clock.advance(timedelta(seconds=85))
    world.report(attempt_id, "exited", Reason.SUCCEEDED, 0)
    assert world.told(AttemptEnded)[0].ended_at == world.lease(attempt_id).held_until
    assert world.row(job_id).used_ms == 60_000


def test_jobs_are_listed_newest_first_page_by_page(world: World) -> None:
    made = []
    for _ in range(5):
        made.append(world.job(budget={"max_price": 1}))
        world.clock.advance(timedelta(seconds=1))
    first = jobs.list_page(world.session, ORGANIZATION, limit=3)
    rest = jobs.list_page(world.session, ORGANIZATION, limit=3, before=(first[-1].created_at, first[-1].job_id))
    assert [record.job_id for record in first + rest] == made[::-1]
    assert jobs.list_page(world.session, ORGANIZATION, limit=9, states=[JobState.FAILED]) == []
    assert jobs.counts(world.session, ORGANIZATION)[JobState.QUEUED] == 5


def test_every_change_of_a_job_counts_in_its_version(world: World) -> None:
    world.node()
    job_id = world.job()
    versions = [world.record(job_id).version]
    world.place()
    versions.append(world.record(job_id).version)
    attempt = world.newest(job_id)
    for state, reason in (("running", None), ("exited", Reason.SUCCEEDED)):
        world.report(attempt.id, state, reason)
        versions.append(world.record(job_id).version)
    assert versions == [1, 2, 3, 4]
    assert world.newest(job_id).state is AttemptState.SUCCEEDED
