"""FAULTS.md row 18 in virtual time: whenever ten minutes without a control plane begin, no job notices."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest
from agents import Run
from soak_size import SOAK
from solders.keypair import Keypair
from sqlalchemy import text

from billing.charging import capture, funding, renewals
from billing.charging.windows import renewal
from billing.ledger import audit
from billing.treasury import deposits
from billing.treasury.arrivals import Arrival
from billing.treasury.custody import Custody
from gridbay.processes import consumer
from infra.bus.usage import UsageMessage
from infra.database import Database
from infra.ground import Ground
from infra.outbox.delivery import by_subscriber, claim, deliver
from infra.settings import Settings
from market.agent_api import AttemptStatus, DesiredAttempt, JoinRequest, Report
from market.clock import ManualClock, milliseconds_between
from market.money import usage_charge_microusd
from market.resources import Inventory, Unit
from market.signing import NodeKey
from market.specs import parse_job_spec
from market.states import Reason
from scheduler.rounds import placing
from scheduler.supply import nodes, providers
from scheduler.upkeep import listening, sweep
from scheduler.work import attempts, desired, jobs, stops
from scheduler.work.jobs import NewJob

OWNER, JOBS, PRICE = "org_1", 3, 3_600_000
SPEC = {"run": "true", "resources": {"cpu": 1, "memory": "1GB", "disk": "1GB"}, "max_duration": "3h"}
AWAY = timedelta(minutes=10)
TICK, POLL = timedelta(seconds=5), timedelta(seconds=10)
BACK_WITHIN = timedelta(seconds=60)
"""What may pass between the first process that serves again and the first node that is heard."""
START = datetime(2026, 11, 21, tzinfo=UTC)
WINDOW = timedelta(seconds=Settings().window_seconds)
RENEWED = int((renewal(START, START + WINDOW) - START).total_seconds())
WORST = (1, RENEWED - 1, RENEWED + 6, int(WINDOW.total_seconds()) + RENEWED - 1)
"""Just before a renewal the least is funded; just after one it is funded and no node has heard of it."""
MOMENTS = range(0, 2000, 10) if SOAK else WORST
CALM_SECONDS = 30


@dataclass
class Minder:
    """One attempt on a node: it ends by itself at its deadline, which only polls move on."""

    run: Run
    started_at: datetime
    deadline: datetime
    ended_at: datetime | None = None


@dataclass
class VirtualNode:
    """A node that polls, obeys its deadlines and keeps every reading."""

    id: str
    minders: dict[str, Minder] = field(default_factory=dict)

    def take(self, wanted: Iterable[DesiredAttempt], now: datetime) -> None:
        for item in wanted:
            deadline = now + timedelta(milliseconds=item.held_for_ms)
            run = Run(item.attempt_id, item.job_id, item.lease_id)
            minder = self.minders.setdefault(item.attempt_id, Minder(run, now, deadline))
            minder.deadline = max(minder.deadline, deadline)
            assert item.action == "run", "nobody asked for a stop"

    def read(self, now: datetime) -> None:
        for minder in self.minders.values():
            assert now < minder.deadline, "killed: its lease ran out"
            minder.run.read(milliseconds_between(minder.started_at, now), final=minder.ended_at is not None)


class Market:
    """The services of a control plane on a clock of the test's, and three nodes with a job each."""

    def __init__(self, database: Database) -> None:
        self.database, self.clock = database, ManualClock(datetime.now(UTC))
        self.base = Ground(Settings(), self.clock)
        self.base.database = database
        self.limits = sweep.Limits.of(self.base.settings)
        with database.transaction() as session:
            now = self.clock.now()
            deposit = deposits.request(session, OWNER, 100_000_000, now, to=Custody(Keypair(), "mint"))
            deposits.credit(session, deposit.deposit_id, [Arrival("signature", 0, 100_000_000)], now)
            provider = providers.create(session, "p", now).id
            self.nodes = [VirtualNode(nodes.join(session, provider, _join(), now).id) for _ in range(JOBS)]
            for number in range(JOBS):
                job_id, spec = f"job_{number}", parse_job_spec({**SPEC, "name": f"job-{number}"})
                terms = funding.JobTerms(job_id, OWNER, Unit.CPU, 1000, PRICE, None, 10_800)
                seconds = funding.open_job(session, terms, now).seconds
                jobs.submit(session, [NewJob(job_id, OWNER, spec, None, PRICE, seconds)], now)
        self.poll()
        placing.run(database, self.clock, limit=10)
        self.poll()
        assert sum(len(node.minders) for node in self.nodes) == JOBS
        self.began = self.clock.now()

    def live(self, seconds: float, tick: timedelta = TICK) -> None:
        """Everything serves for so long."""
        until, polled = self.clock.now() + timedelta(seconds=seconds), self.clock.now() - POLL
        while self.clock.now() < until:
            self.upkeep()
            if self.clock.now() - polled >= POLL:
                polled = self.clock.now()
                self.poll()
                self.report()
            self.clock.advance(min(tick, until - self.clock.now()))

    def be_away(self) -> None:
        """Nobody serves, while nodes go on reading; then the worker is back for a minute before the portal is."""
        until = self.clock.now() + AWAY
        while self.clock.now() < until:
            self.clock.advance(TICK * 3)
            for node in self.nodes:
                node.read(self.clock.now())
        while self.clock.now() < until + BACK_WITHIN:
            self.upkeep()
            self.clock.advance(TICK)

    def upkeep(self) -> None:
        """What the worker and the relay do."""
        now = self.clock.now()
        with self.database.transaction() as session:
            sweep.mark_lost(session, now, self.limits)
        with self.database.transaction() as session:
            sweep.end_lost(session, now)
            sweep.end_expired(session, now, self.limits)
            stops.ask_due(session, now)
        with self.database.transaction() as session:
            capture.capture_due(session, now)
        with self.database.transaction() as session:
            renewals.fund_windows(session, now)
        with self.database.transaction() as session:
            due = claim(session, now)
        for subscriber, ids in by_subscriber(due).items():
            deliver(self.database, self.clock, subscriber, ids)

    def poll(self) -> None:
        now = self.clock.now()
        with self.database.transaction() as session:
            listening.note(session, now)
            nodes.heartbeat(session, [nodes.Heartbeat(node.id, "boot", "ready") for node in self.nodes], now)
            wanted = desired.desired_state(session, [node.id for node in self.nodes], now)
        for node in self.nodes:
            node.take(wanted[node.id].attempts, now)

    def report(self) -> None:
        now = self.clock.now()
        for node in self.nodes:
            node.read(now)
            runs = [minder.run for minder in node.minders.values()]
            statuses = [_status(minder) for minder in node.minders.values()]
            with self.database.transaction() as session:
                attempts.report(session, node.id, statuses, now)
            report = Report(node_id=node.id, sent_at_ms=0, readings=[one for run in runs for one in run.readings])
            consumer.merge(self.base, [UsageMessage(node.id, now, report.model_dump_json().encode())])

    def end(self) -> None:
        """Every command ends now; the market hears of it and settles."""
        for node in self.nodes:
            for minder in node.minders.values():
                minder.ended_at = self.clock.now()
        self.report()
        for _ in range(30):
            self.upkeep()
            self.clock.advance(TICK)

    def bill(self) -> list[tuple[object, ...]]:
        """Of each job: its state, how often it was placed, run time and charge by its lines, what is still held."""
        query = """
            SELECT j.state, j.attempts_placed, max(u.to_ms), sum(u.amount_microusd),
              (SELECT count(*) FROM holds h WHERE h.job_id = j.id AND h.settled_at IS NULL)
            FROM jobs j LEFT JOIN usage_lines u ON u.job_id = j.id GROUP BY j.id ORDER BY j.id"""
        with self.database.read() as session:
            assert audit.check(session) == []
            return [tuple(row) for row in session.execute(text(query))]


@pytest.mark.parametrize("moment", MOMENTS)
def test_ten_minutes_without_a_control_plane_kill_no_job_whenever_they_begin(database: Database, moment: int) -> None:
    market = Market(database)
    calm = max(0, moment - CALM_SECONDS)
    market.live(calm, tick=2 * POLL)
    market.live(moment - calm)
    market.be_away()
    market.live(random.Random(moment).randrange(30, 300))
    ran_ms = milliseconds_between(market.began, market.clock.now())
    market.end()
    charge = usage_charge_microusd(1000, ran_ms, PRICE)
    assert market.bill() == [("succeeded", 1, ran_ms, charge, 0)] * JOBS


def _status(minder: Minder) -> AttemptStatus:
    ended = {"state": "exited", "reason": Reason.SUCCEEDED, "exit_code": 0}
    more = ended if minder.ended_at is not None else {"state": "running"}
    return AttemptStatus.model_validate({"attempt_id": minder.run.attempt_id, **more})


def _join() -> JoinRequest:
    have = {"hostname": "h", "cpu_milli": 1000, "memory_bytes": 2**34, "disk_bytes": 2**37, "sandbox": "bubblewrap"}
    return JoinRequest(
        public_key=NodeKey.generate().public_hex,
        possession="0" * 128,
        name="n",
        inventory=Inventory.model_validate({**have, "agent_version": "1"}),
        price_microusd_per_cpu_hour=PRICE,
    )
