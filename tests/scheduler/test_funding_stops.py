"""Funding: a lease is held as long as billing says, never shorter; without money a job ends with what it has paid."""

from datetime import datetime, timedelta

import pytest
from market_world import ORGANIZATION, World

from market.agent_api import Action
from market.messages import FundingRefused, JobEnded, JobFunded
from market.states import JobState, Reason
from scheduler import handlers
from scheduler.tables import Lease
from scheduler.work import desired, jobs, stops


def leased(world: World, funded_seconds: int = 900) -> tuple[str, str, Lease]:
    world.node()
    job_id, attempt_id = world.running(funded_seconds=funded_seconds)
    return job_id, attempt_id, world.lease(attempt_id)


def funded(world: World, job_id: str, lease: Lease, until: datetime) -> None:
    handlers.job_funded(world.session, JobFunded(job_id=job_id, lease_id=lease.id, until=until), world.clock.now())
    world.session.flush()


def refused(world: World, job_id: str, lease: Lease | None, until: datetime | None) -> None:
    message = FundingRefused(
        job_id=job_id, lease_id=lease.id if lease else None, reason=Reason.STOPPED_BALANCE_EXHAUSTED, until=until
    )
    handlers.funding_refused(world.session, message, world.clock.now())
    world.session.flush()


def action(world: World, lease: Lease) -> Action:
    state = desired.desired_state(world.session, [lease.node_id], world.clock.now())
    return state[lease.node_id].attempts[0].action


def test_a_lease_is_extended_only_forward_and_its_node_is_told(world: World) -> None:
    job_id, attempt_id, lease = leased(world)
    until, version = (
        lease.held_until,
        world.version(lease.node_id),
    )
    later = until + timedelta(seconds=900)
    for message_until, held in ((later, later), (later, later), (until, later)):
        funded(world, job_id, lease, message_until)
        assert world.lease(attempt_id).held_until == held
    assert world.version(lease.node_id) == version + 1


def test_nothing_extends_a_lease_that_has_ended(world: World) -> None:
    job_id, attempt_id, lease = leased(world)
    world.report(attempt_id, "exited", Reason.SUCCEEDED, 0)
    until = lease.held_until
    funded(world, job_id, lease, until + timedelta(hours=1))
    refused(world, job_id, lease, until)
    assert world.lease(attempt_id).held_until == until
    assert world.record(job_id).state is JobState.SUCCEEDED


def test_nothing_extends_the_lease_of_a_lost_attempt(world: World) -> None:
    job_id, attempt_id, lease = leased(world)
    until = lease.held_until
    world.pass_time(35)
    assert world.record(job_id).state is JobState.QUEUED
    funded(world, job_id, lease, until + timedelta(hours=1))
    assert world.lease(attempt_id).held_until == until


def test_when_funding_is_refused_the_job_runs_on_what_is_paid_and_is_then_stopped(world: World) -> None:
    job_id, attempt_id, lease = leased(world)
    refused(world, job_id, lease, lease.held_until)
    refused(world, job_id, lease, lease.held_until)
    assert (world.record(job_id).state, action(world, lease)) == (JobState.RUNNING, Action.RUN)
    assert "balance_exhausted" in world.record(job_id).detail
    world.clock.advance(timedelta(seconds=900 - 20))
    version = world.version(lease.node_id)
    assert stops.ask_due(world.session, world.clock.now()) == 1
    assert stops.ask_due(world.session, world.clock.now()) == 0
    assert world.version(lease.node_id) == version + 1
    assert (world.record(job_id).state, action(world, lease)) == (JobState.STOPPING, Action.STOP)
    world.report(attempt_id, "exited", Reason.STOPPED_BALANCE_EXHAUSTED)
    assert world.record(job_id).reason is Reason.STOPPED_BALANCE_EXHAUSTED
    assert len(world.told(JobEnded)) == 1


def test_a_deposit_in_time_calls_the_stop_off(world: World) -> None:
    job_id, _, lease = leased(world)
    until = lease.held_until
    refused(world, job_id, lease, until)
    funded(world, job_id, lease, until + timedelta(seconds=900))
    refused(world, job_id, lease, until)
    world.clock.advance(timedelta(seconds=1795))
    assert stops.ask_due(world.session, world.clock.now()) == 0
    assert action(world, lease) is Action.RUN


def test_a_refusal_that_overtakes_its_funding_still_gives_what_is_paid(world: World) -> None:
    job_id, attempt_id, lease = leased(world)
    later = lease.held_until + timedelta(seconds=900)
    refused(world, job_id, lease, later)
    funded(world, job_id, lease, later)
    assert world.lease(attempt_id).held_until == later
    world.clock.advance(timedelta(seconds=1790))
    assert stops.ask_due(world.session, world.clock.now()) == 1


def test_a_short_lease_keeps_nine_tenths_of_its_time(world: World) -> None:
    job_id, _, lease = leased(world, funded_seconds=10)
    refused(world, job_id, lease, lease.held_until)
    world.clock.advance(timedelta(seconds=8.9))
    assert action(world, lease) is Action.RUN
    world.clock.advance(timedelta(seconds=0.1))
    assert action(world, lease) is Action.STOP


@pytest.mark.parametrize("started", [False, True])
def test_the_lease_of_an_attempt_that_never_starts_or_never_stops_runs_out(world: World, started: bool) -> None:
    world.node()
    job_id = world.job(funded_seconds=3600)
    world.place()
    attempt = world.newest(job_id)
    lease = world.lease(attempt.id)
    if started:
        world.report(attempt.id, "running")
        jobs.request_stop(world.session, ORGANIZATION, job_id, world.clock.now())
    until, patience = lease.held_until, stops.STOP_PATIENCE if started else stops.START_PATIENCE
    world.clock.advance(patience)
    funded(world, job_id, lease, until + timedelta(hours=1))
    assert lease.held_until == until + timedelta(hours=1)
    world.clock.advance(timedelta(seconds=1))
    funded(world, job_id, lease, until + timedelta(hours=2))
    assert lease.held_until == until + timedelta(hours=1)


@pytest.mark.parametrize("again", [False, True])
def test_a_job_that_waits_for_money_ends_when_there_is_none(world: World, again: bool) -> None:
    world.node()
    job_id, attempt_id = world.running(retry={"on": ["failure"]})
    world.report(attempt_id, "exited", Reason.FAILED_EXIT_CODE, 1)
    for _ in range(2 if again else 1):
        refused(world, job_id, None, None)
    record = world.record(job_id)
    assert (record.state, record.reason) == (JobState.STOPPED, Reason.STOPPED_BALANCE_EXHAUSTED)
    assert len(world.told(JobEnded)) == 1


def test_money_for_a_job_that_is_placed_or_funded_already_changes_nothing(world: World) -> None:
    world.node()
    job_id = world.job()
    world.fund(job_id, 5)
    assert world.row(job_id).funded_seconds == 900
    world.place()
    world.fund(job_id, 5)
    assert world.row(job_id).funded_seconds is None
    refused(world, job_id, None, None)
    assert world.record(job_id).state is JobState.PLACED
