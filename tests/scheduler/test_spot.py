"""Spot jobs in rounds: they pay their bid, make room after a notice and are tried again; no others are interrupted."""

from datetime import timedelta
from typing import Any

import pytest
from market_world import ORGANIZATION, World
from sqlalchemy import select, text

from infra.database import Database
from market.agent_api import Action
from market.clock import ManualClock
from market.messages import AttemptEnded, AttemptPlaced, FundingRefused, JobRequeued
from market.specs import InvalidSpec, parse_job_spec
from market.states import AttemptState, JobState, Reason
from market.terms_api import NodeTermsView
from scheduler import handlers
from scheduler.rounds import explaining, placing, quotes, records
from scheduler.rounds.queueing import Walk
from scheduler.supply import terms
from scheduler.tables import Node, SpotAttempt
from scheduler.work import desired, jobs

H100 = "NVIDIA H100"
RECLAIMED = Reason.STOPPED_SPOT_RECLAIMED


@pytest.fixture
def node(world: World) -> Node:
    return world.node([H100], gpu_price=200_000)


def bid(world: World, amount: str = "0.12", **spec: Any) -> str:
    return world.job(spot=True, resources={"gpu": 1}, budget={"max_price": amount}, **spec)


def usual(world: World, **spec: Any) -> str:
    return world.job(resources={"gpu": 1}, budget={"max_price": "0.2"}, **spec)


def runs(world: World, job_id: str) -> str:
    assert world.place() == 1
    attempt = world.newest(job_id)
    assert attempt.state is AttemptState.PLACED
    world.report(attempt.id, "running")
    return attempt.id


def test_the_lease_is_frozen_at_what_is_bid(world: World, node: Node) -> None:
    attempt_id = runs(world, bid(world))
    (told,) = world.told(AttemptPlaced)
    row = world.session.get_one(SpotAttempt, attempt_id)
    assert world.lease(attempt_id).price_microusd_per_unit_hour == told.price_microusd_per_unit_hour == 120_000
    assert (row.bid_microusd_per_unit_hour, row.asked_microusd_per_unit_hour) == (120_000, 200_000)


def test_the_plan_of_a_spot_job_expects_its_bid_or_the_posted_price(world: World, node: Node) -> None:
    def expected(amount: str) -> int | None:
        spec = {"run": "true", "spot": True, "resources": {"gpu": 1}, "budget": {"max_price": amount}}
        plan = quotes.plan(world.session, parse_job_spec(spec), ORGANIZATION)
        return plan.expected_price_microusd_per_unit_hour

    assert [expected(amount) for amount in ("0.12", "9", "0.01")] == [120_000, 200_000, None]


def test_a_spot_job_names_its_bid() -> None:
    with pytest.raises(InvalidSpec, match="name its bid") as refused:
        parse_job_spec({"run": "true", "spot": True})
    assert [fault.pointer for fault in refused.value.errors] == ["/budget/max_price"]


def test_on_demand_reclaims_after_a_notice_and_the_spot_job_is_tried_again(world: World, node: Node) -> None:
    spot = bid(world, retry={"max_attempts": 1})
    first = runs(world, spot)
    version = world.version(node.id)
    world.clock.advance(timedelta(seconds=60))
    pays = usual(world)
    assert world.place() == 0
    (desire,) = desired.desired_state(world.session, [node.id], world.clock.now())[node.id].attempts
    assert (desire.action, desire.stop_reason, world.version(node.id)) == (Action.STOP, RECLAIMED, version + 1)
    assert (world.row(spot).state, world.row(spot).reason) == (JobState.RUNNING, Reason.STOPPING_SPOT_RECLAIMED)
    assert world.row(pays).detail == "1 spot job makes room for it"
    # What waits is not given anybody else's notice meanwhile.
    assert world.place() == 0
    world.clock.advance(timedelta(seconds=5))
    world.report(first, "exited", RECLAIMED, 143)
    assert (world.row(spot).state, world.row(spot).reason) == (JobState.QUEUED, Reason.RECOVERING_SPOT_RECLAIMED)
    assert world.row(spot).detail == "a job that pays the posted price takes the place of this bid of 0.12 USDC"
    (requeued,) = world.told(JobRequeued)
    assert requeued.remaining_seconds == 24 * 3600 - 65
    world.fund(spot, 600)
    assert world.place() == 1
    assert world.newest(pays).state is AttemptState.PLACED
    assert world.newest(pays).price_microusd_per_unit_hour == 200_000
    assert world.row(spot).state is JobState.QUEUED
    # Once that has ended it goes on, though it may be tried but once: making room is no try.
    world.report(world.newest(pays).id, "exited", exit_code=0)
    assert runs(world, spot) != first


def test_a_reclaimed_attempt_is_over_when_it_says_so_and_no_later(world: World, node: Node) -> None:
    first = runs(world, bid(world))
    usual(world)
    world.clock.advance(timedelta(seconds=30))
    world.place()
    world.clock.advance(timedelta(seconds=7))
    world.report(first, "exited", RECLAIMED, 143)
    (ended,) = world.told(AttemptEnded)
    assert (ended.ended_at, ended.reason) == (world.clock.now(), RECLAIMED)


def test_a_higher_bid_takes_the_place_of_a_lower_one_and_both_are_told(world: World, node: Node) -> None:
    low = bid(world)
    first = runs(world, low)
    high = bid(world, "0.15")
    world.place()
    assert world.row(low).detail == "a bid of 0.15 USDC takes the place of this one of 0.12 USDC"
    assert world.session.get_one(SpotAttempt, first).outbid_by_microusd_per_unit_hour == 150_000
    world.report(first, "exited", RECLAIMED, 0)
    world.fund(low, 600)
    assert runs(world, high)
    assert world.lease(world.newest(high).id).price_microusd_per_unit_hour == 150_000
    assert world.place() == 0
    assert world.record_of_attempt(world.newest(high).id).stop_at is None, "a lower bid reclaims nothing"
    told = explaining.explain_job(world.session, ORGANIZATION, low, world.clock.now())
    assert told.spot is not None
    assert (told.spot.reclaimed, told.spot.outbid_by, told.spot.lowest_bid) == (1, 150_000, 150_000)


def test_no_on_demand_job_is_interrupted(world: World, node: Node) -> None:
    attempt_id = runs(world, usual(world))
    bid(world, "9")
    usual(world)
    world.place()
    assert world.record_of_attempt(attempt_id).stop_at is None


def test_a_stop_that_its_customer_asks_for_while_it_makes_room_is_its_end(world: World, node: Node) -> None:
    spot = bid(world)
    first = runs(world, spot)
    usual(world)
    world.place()
    jobs.request_stop(world.session, ORGANIZATION, spot, world.clock.now())
    world.report(first, "exited", RECLAIMED, 143)
    assert (world.row(spot).state, world.row(spot).reason) == (JobState.STOPPED, Reason.STOPPED_BY_USER)


def test_no_money_for_more_does_not_put_the_notice_off(world: World, node: Node) -> None:
    spot = bid(world)
    first = runs(world, spot)
    usual(world)
    world.place()
    lease = world.lease(first)
    why = Reason.STOPPED_BALANCE_EXHAUSTED
    refused = FundingRefused(job_id=spot, lease_id=lease.id, reason=why, until=lease.held_until)
    handlers.funding_refused(world.session, refused, world.clock.now())
    world.sweep()
    attempt = world.record_of_attempt(first)
    assert (attempt.stop_reason, attempt.stop_at) == (RECLAIMED, world.clock.now())
    assert world.row(spot).state is JobState.RUNNING


def test_who_does_not_leave_loses_the_lease_and_is_tried_again(world: World, node: Node) -> None:
    spot = bid(world, funded_seconds=300)
    first = runs(world, spot)
    usual(world)
    world.place()
    world.pass_time(400, node, step=20)
    assert world.record_of_attempt(first).reason is RECLAIMED
    assert (world.row(spot).state, world.row(spot).reason) == (JobState.QUEUED, Reason.RECOVERING_SPOT_RECLAIMED)


def test_a_provider_takes_no_spot_jobs_or_none_below_its_floor(world: World, node: Node) -> None:
    def say(**said: Any) -> None:
        terms.put(world.session, node.provider_id, node.id, NodeTermsView(**said), world.clock.now())

    say(spot=False)
    spot = bid(world)
    assert world.place() == 0
    assert world.row(spot).detail == "of 2 offers: 1 of another unit (GPU or CPU), 1 whose provider takes no spot jobs"
    say(spot_floor_milli=601)
    assert world.place() == 0
    told = explaining.explain_job(world.session, ORGANIZATION, spot, world.clock.now())
    assert [str(change) for change in told.explanation.changes] == ["max_price 0.1202 instead of 0.12: 1 offer"]
    say(spot_floor_milli=600)
    assert world.place() == 1


def test_a_round_that_reclaims_is_on_record_and_agrees(database: Database, clock: ManualClock) -> None:
    def hold(*steps: Any) -> None:
        clock.advance(timedelta(seconds=1))
        with database.transaction() as session:
            for step in steps:
                step(World(session, clock))
        with database.transaction() as session:
            placing.place(session, clock, Walk(100), seed="seed")

    hold(lambda world: world.node([H100] * 2, gpu_price=200_000), bid, bid)
    hold(usual)
    with database.read() as session:
        newest = records.recorded(session)[0]
        told = records.replay(session, newest.id)
        assert told.agrees and told.replayed.same_rules
        assert [one[1] for one in told.replayed.again if len(one) == 3] == ["reclaimed"]
        assert session.scalar(select(SpotAttempt.attempt_id).where(SpotAttempt.reclaimed_at.is_not(None)))
        assert session.scalar(text("SELECT count(*) FROM spot_attempts WHERE ended_at IS NULL")) == 2
