"""Whatever happens in whatever order, states move by the table, GPUs are held once, every end is told once, a lease
keeps its price, and only spot jobs make room."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from market_world import LIMITS, ORGANIZATION, World
from sqlalchemy import select

from infra.database import Database
from infra.writing import WritingSession
from market.clock import ManualClock
from market.messages import AttemptEnded, AttemptPlaced, FundingRefused, JobEnded, JobFunded, JobRequeued
from market.resources import Unit
from market.states import JOB_TRANSITIONS, JobState, Reason
from market.terms_api import NodeTermsView
from scheduler import handlers
from scheduler.placement.queue.waiting import Account
from scheduler.rounds import shares
from scheduler.supply import prices, terms
from scheduler.tables import Attempt, Gpu, Job, Lease, LeaseGpu, Node, SpotAttempt
from scheduler.work import jobs

FRESH = {"populate_existing": True}
START = datetime(2036, 11, 21, 12, 0, tzinfo=UTC)
CLAIMS = st.sampled_from(
    [
        Reason.SUCCEEDED,
        Reason.FAILED_EXIT_CODE,
        Reason.STOPPED_BY_USER,
        Reason.STOPPED_LEASE_EXPIRED,
        Reason.STOPPED_SPOT_RECLAIMED,
        None,
    ]
)


class AnyHistory(RuleBasedStateMachine):
    """Two nodes with two GPUs each, a queue of jobs, and everything that can happen to them."""

    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.connection = self.database.engine.connect()
        self.outer = self.connection.begin()
        session = WritingSession(self.connection, join_transaction_mode="create_savepoint", expire_on_commit=False)
        self.world = World(session, ManualClock(START))
        self.nodes = [self.world.node(["NVIDIA H100"] * 2) for _ in range(2)]
        self.states: dict[str, JobState] = {}
        self.prices: dict[str, int] = {}

    def teardown(self) -> None:
        self.world.session.close()
        self.outer.rollback()
        self.connection.close()

    @initialize()
    def spot_jobs_hold_everything(self) -> None:
        for _ in self.nodes:
            self.submit(gpus=2, on=[], bid="0.3")
        self.place(seed="")

    def _jobs(self) -> list[Job]:
        return list(self.world.session.scalars(select(Job).order_by(Job.id).execution_options(populate_existing=True)))

    def _attempts(self) -> list[Attempt]:
        return list(self.world.session.scalars(select(Attempt).order_by(Attempt.id)))

    def _told_to_stop(self) -> list[Attempt]:
        now = self.world.clock.now()
        return [one for one in self._attempts() if one.stop_at and one.stop_at <= now and not one.state.final]

    @precondition(lambda self: len(self.states) < 6)
    @rule(
        gpus=st.integers(1, 2),
        on=st.sampled_from([["provider_lost"], ["provider_lost", "failure"], []]),
        bid=st.sampled_from([None, None, "0.35", "0.9"]),
    )
    def submit(self, gpus: int, on: list[str], bid: str | None) -> None:
        retry = {"on": on, "max_attempts": 2}
        how = {"spot": True, "budget": {"max_price": bid}} if bid else {}
        self.world.job(resources={"gpu": gpus}, retry=retry, max_duration=600, funded_seconds=300, **how)

    @rule(at=st.integers(0, 1), price=st.sampled_from([1, 300_000, 2_000_000]))
    def reprice(self, at: int, price: int) -> None:
        node = self.nodes[at]
        prices.set_price(self.world.session, node.provider_id, node.id, Unit.GPU, price, self.world.clock.now())

    @rule(at=st.integers(0, 1), spot=st.booleans(), floor=st.sampled_from([0, 500, 1000]), draining=st.booleans())
    def say_terms(self, at: int, spot: bool, floor: int, draining: bool) -> None:
        said, node = NodeTermsView(spot=spot, spot_floor_milli=floor, draining=draining), self.nodes[at]
        terms.put(self.world.session, node.provider_id, node.id, said, self.world.clock.now())

    @rule(weight=st.integers(1, 3), ceiling=st.sampled_from([None, 1]))
    def share(self, weight: int, ceiling: int | None) -> None:
        account = Account(weight_milli=1000 * weight, ceiling_gpus=ceiling)
        shares.put(self.world.session, ORGANIZATION, account, self.world.clock.now())

    @rule(seed=st.text(max_size=2))
    def place(self, seed: str) -> None:
        self.world.place(seed=seed)

    @precondition(lambda self: self._attempts())
    @rule(data=st.data(), state=st.sampled_from(["running", "exited"]), claim=CLAIMS)
    def report(self, data: st.DataObject, state: str, claim: Reason | None) -> None:
        self.world.report(data.draw(st.sampled_from(self._attempts())).id, state, claim, 1)

    @precondition(lambda self: self._told_to_stop())
    @rule(data=st.data())
    def do_as_told(self, data: st.DataObject) -> None:
        attempt = data.draw(st.sampled_from(self._told_to_stop()))
        self.world.report(attempt.id, "exited", attempt.stop_reason, 143)

    @precondition(lambda self: self.states)
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        job = data.draw(st.sampled_from(self._jobs()))
        jobs.request_stop(self.world.session, ORGANIZATION, job.id, self.world.clock.now())

    @precondition(lambda self: self.states)
    @rule(data=st.data(), granted=st.booleans(), leased=st.booleans())
    def money(self, data: st.DataObject, granted: bool, leased: bool) -> None:
        job = data.draw(st.sampled_from(self._jobs()))
        session, now = self.world.session, self.world.clock.now()
        lease = session.scalars(select(Lease).where(Lease.job_id == job.id).order_by(Lease.id.desc())).first()
        lease_id = lease.id if lease and leased else None
        until = lease.held_until + timedelta(seconds=300) if lease and leased else None
        if granted:
            seconds = None if lease_id else 300
            handlers.job_funded(session, JobFunded(job_id=job.id, lease_id=lease_id, seconds=seconds, until=until), now)
        else:
            reason = Reason.STOPPED_BALANCE_EXHAUSTED
            message = FundingRefused(job_id=job.id, lease_id=lease_id, reason=reason, until=until)
            handlers.funding_refused(session, message, now)
        session.flush()

    @rule(seconds=st.sampled_from([10, 40, 180]), heard=st.sets(st.integers(0, 1)))
    def time_passes(self, seconds: int, heard: set[int]) -> None:
        self.world.pass_time(seconds, *(self.nodes[index] for index in sorted(heard)), step=10)

    @invariant()
    def states_move_by_the_table(self) -> None:
        for job in self._jobs():
            before = self.states.get(job.id, JobState.QUEUED)
            assert job.state in reachable(before)
            self.states[job.id] = job.state

    @invariant()
    def every_end_is_told_once_and_every_try_is_counted(self) -> None:
        world = self.world
        ended = Counter(message.attempt_id for message in world.told(AttemptEnded))
        assert ended == Counter(attempt.id for attempt in self._attempts() if attempt.state.final)
        done = Counter(message.job_id for message in world.told(JobEnded))
        assert done == Counter(job.id for job in self._jobs() if job.state.final)
        placed = Counter(message.job_id for message in world.told(AttemptPlaced))
        assert placed == Counter({job.id: job.attempts_placed for job in self._jobs() if job.attempts_placed})
        requeued = Counter(message.job_id for message in world.told(JobRequeued))
        for job in self._jobs():
            assert job.attempts_placed - 1 <= requeued[job.id] <= job.attempts_placed or not job.attempts_placed

    @invariant()
    def a_job_has_one_live_attempt_exactly_while_it_has_a_lease_of_its_own(self) -> None:
        live = Counter(attempt.job_id for attempt in self._attempts() if not attempt.state.final)
        moving = (JobState.PLACED, JobState.RUNNING, JobState.STOPPING)
        assert live == Counter(job.id for job in self._jobs() if job.state in moving)

    @invariant()
    def a_lease_keeps_the_price_it_was_told_at_and_it_is_within_the_limit(self) -> None:
        session = self.world.session
        told = {message.lease_id: message.price_microusd_per_unit_hour for message in self.world.told(AttemptPlaced)}
        rows = session.execute(
            select(
                Lease.id,
                Lease.price_microusd_per_unit_hour,
                Attempt.price_microusd_per_unit_hour,
                Job.price_limit_microusd_per_unit_hour,
            )
            .join(Attempt, Attempt.id == Lease.attempt_id)
            .join(Job, Job.id == Lease.job_id)
        ).all()
        assert {lease_id for lease_id, *_ in rows} == told.keys()
        for lease_id, price, of_attempt, limit in rows:
            assert price == of_attempt == told[lease_id] == self.prices.setdefault(lease_id, price) <= limit

    @invariant()
    def only_spot_jobs_make_room_and_their_rows_follow_their_attempts(self) -> None:
        session = self.world.session
        kept = {row.attempt_id: row for row in session.scalars(select(SpotAttempt).execution_options(**FRESH))}
        spot_jobs = {job.id for job in self._jobs() if job.spec["spot"]}
        for attempt in self._attempts():
            row = kept.pop(attempt.id, None)
            assert (row is not None) == (attempt.job_id in spot_jobs)
            assert attempt.stop_reason is not Reason.STOPPED_SPOT_RECLAIMED or row is not None
            assert attempt.reason is not Reason.STOPPED_SPOT_RECLAIMED or (row is not None and row.reclaimed_at)
            assert row is None or (row.ended_at is None) == (not attempt.state.final)
        assert not kept

    @invariant()
    def gpus_are_held_once_and_counters_are_what_leases_leave(self) -> None:
        session, now = self.world.session, self.world.clock.now()
        held = session.scalars(select(LeaseGpu.gpu_id).where(LeaseGpu.released_at.is_(None))).all()
        assert len(held) == len(set(held)) <= len(session.scalars(select(Gpu.id)).all())
        leases = session.scalars(select(Lease).execution_options(populate_existing=True)).all()
        for node in session.scalars(select(Node).execution_options(populate_existing=True)):
            used = sum(lease.cpu_milli for lease in leases if lease.node_id == node.id and lease.released_at is None)
            assert node.cpu_free_milli == node.cpu_total_milli - used
        assert all(lease.released_at or lease.held_until + LIMITS.release_after >= now for lease in leases)


def reachable(state: JobState) -> set[JobState]:
    """The states that one rule may lead to: it may take more than one step of the table."""
    found, border = {state}, {state}
    while border:
        border = {after for before in border for after in JOB_TRANSITIONS[before]} - found
        found |= border
    return found


@pytest.mark.timeout(240)
def test_any_history(database: Database) -> None:
    AnyHistory.database = database
    run_state_machine_as_test(
        AnyHistory,
        settings=settings(
            max_examples=15, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
