"""FAULTS.md row 3: messages five times, shuffled, a day late, and poison: the rows are as if each had come once."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from soak_size import size
from solders.keypair import Keypair
from sqlalchemy import text

from billing.charging import capture, funding, renewals
from billing.ledger import audit
from billing.treasury import deposits
from billing.treasury.arrivals import Arrival
from billing.treasury.custody import Custody
from infra.database import Base, Database
from infra.outbox import subscriptions
from infra.outbox.delivery import ATTEMPTS_MAX, by_subscriber, claim, deliver
from market.agent_api import AttemptStatus, JoinRequest
from market.clock import ManualClock
from market.messages import JobEnded
from market.resources import Inventory, Unit
from market.signing import NodeKey
from market.specs import parse_job_spec
from market.states import Reason
from scheduler.rounds import placing
from scheduler.supply import nodes, providers
from scheduler.work import attempts, jobs
from scheduler.work.jobs import NewJob

OWNER = "org_1"
SPEC = {"run": "true", "resources": {"cpu": 1, "memory": "1GB", "disk": "1GB"}, "max_duration": "1h"}
RETRIED = {**SPEC, "retry": {"on": ["failure"], "max_attempts": 2}}
ENDS = {"good": (Reason.SUCCEEDED, 0), "bad": (Reason.FAILED_EXIT_CODE, 1), "again": (Reason.FAILED_EXIT_CODE, 1)}
SEEDS = range(size(3, 100))
Rows = dict[str, list[str]]


class Line:
    """A market of one node and three jobs, whose messages go as a test wants them to."""

    def __init__(self, database: Database) -> None:
        self.database, self.clock = database, ManualClock(datetime.now(UTC))
        with database.transaction() as session:
            now = self.clock.now()
            deposit = deposits.request(session, OWNER, 10_000_000, now, to=Custody(Keypair(), "mint"))
            deposits.credit(session, deposit.deposit_id, [Arrival("signature", 0, 10_000_000)], now)
            inventory = {"hostname": "h", "cpu_milli": 8000, "memory_bytes": 2**34, "disk_bytes": 2**37}
            have = Inventory.model_validate({**inventory, "sandbox": "bubblewrap", "agent_version": "1"})
            join = JoinRequest(public_key=NodeKey.generate().public_hex, possession="0" * 128, name="n", inventory=have)
            self.node_id = nodes.join(session, providers.create(session, "p", now).id, join, now).id

    def run(self, order: random.Random | None) -> None:
        """Submit, place, renew, end, retry, end, settle; order: how messages are shuffled (None: not at all)."""
        self._submit()
        for _ in range(3):
            self._pass_time()
            placing.run(self.database, self.clock, limit=10)
            self.carry(order)
            self._pass_time(500)
            with self.database.transaction() as session:
                renewals.fund_windows(session, self.clock.now())
            self.carry(order)
            self._end()
            self.carry(order)
        self._pass_time(3600)
        with self.database.transaction() as session:
            capture.capture_due(session, self.clock.now())
        self.carry(order)

    def carry(self, order: random.Random | None) -> None:
        """Until nothing is due; a handler that is not ready is asked again."""
        for _ in range(30):
            with self.database.transaction() as session:
                due = claim(session, self.clock.now())
            pieces = [(subscriber, ids) for subscriber, ids in by_subscriber(due).items()]
            if order is not None:
                pieces = [(subscriber, [one]) for subscriber, ids in pieces for one in ids]
                order.shuffle(pieces)
            for subscriber, ids in pieces:
                deliver(self.database, self.clock, subscriber, ids)
            if not due:
                return
            self._pass_time()

    def repeat(self, order: random.Random) -> None:
        """Every message of all time five times more, shuffled, past the mark that says that it was done."""
        with self.database.read() as session:
            rows = session.execute(text("SELECT subscriber, message_id FROM outbox_deliveries")).all()
        again = [tuple(row) for row in rows] * 5
        order.shuffle(again)
        for subscriber, message_id in again:
            with self.database.transaction() as session:
                session.execute(
                    text("UPDATE outbox_deliveries SET done_at = NULL WHERE message_id = :m"), {"m": message_id}
                )
            deliver(self.database, self.clock, subscriber, [message_id])

    def rows(self) -> Rows:
        """Every row of every table, byte for byte; of deliveries only that they are there."""
        with self.database.read() as session:
            return {
                table.name: sorted(session.scalars(text(f'SELECT t::text FROM "{table.name}" t')))
                for table in Base.metadata.sorted_tables
                if table.name != "outbox_deliveries"
            }

    def errors(self) -> list[str]:
        """What handlers failed with."""
        with self.database.read() as session:
            return list(session.scalars(text("SELECT error FROM outbox_deliveries WHERE error IS NOT NULL")))

    def bill(self) -> list[tuple[object, ...]]:
        """What became of each job, without what differs between two runs: ids and moments."""
        query = """
            SELECT j.name, j.state, j.reason, j.attempts_placed,
              (SELECT sum(amount_microusd) FROM usage_lines u WHERE u.job_id = j.id) AS cost,
              (SELECT count(*) FROM holds h WHERE h.job_id = j.id) AS holds,
              (SELECT count(*) FROM holds h WHERE h.job_id = j.id AND h.settled_at IS NULL) AS open
            FROM jobs j ORDER BY j.name"""
        with self.database.read() as session:
            assert audit.check(session) == []
            return [tuple(row) for row in session.execute(text(query))]

    def _submit(self) -> None:
        with self.database.transaction() as session:
            now = self.clock.now()
            for name in ENDS:
                job_id, spec = f"job_{name}", parse_job_spec({**(RETRIED if name == "again" else SPEC), "name": name})
                terms = funding.JobTerms(job_id, OWNER, Unit.CPU, 1000, 1_000_000, None, 3600)
                seconds = funding.open_job(session, terms, now).seconds
                jobs.submit(session, [NewJob(job_id, OWNER, spec, None, 1_000_000, seconds)], now)

    def _end(self) -> None:
        """Every live attempt ends as its job's name says."""
        query = "SELECT a.id, j.name FROM attempts a JOIN jobs j ON j.id = a.job_id WHERE a.ended_at IS NULL ORDER BY 1"
        with self.database.transaction() as session:
            for attempt_id, name in session.execute(text(query)).all():
                reason, code = ENDS[name]
                status = AttemptStatus(attempt_id=attempt_id, state="exited", reason=reason, exit_code=code)
                attempts.report(session, self.node_id, [status], self.clock.now())

    def _pass_time(self, seconds: float = 15) -> None:
        self.clock.advance(timedelta(seconds=seconds))
        with self.database.transaction() as session:
            nodes.heartbeat(session, [nodes.Heartbeat(self.node_id, "boot", "ready")], self.clock.now())


def test_every_message_five_times_shuffled_and_a_day_late_changes_not_a_byte(database: Database) -> None:
    line = Line(database)
    line.run(None)
    line.clock.advance(timedelta(days=1))
    before = line.rows()
    for seed in SEEDS:
        line.repeat(random.Random(seed))
        assert line.rows() == before
        assert line.errors() == [], "nor is anything left to the database to refuse"
    assert [row[1:4] for row in line.bill()] == [
        ("failed", "failed:exit_code", 2),
        ("failed", "failed:exit_code", 1),
        ("succeeded", "succeeded", 1),
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_in_any_order_the_outcome_is_the_same(database: Database, seed: int) -> None:
    shuffled = Line(database)
    shuffled.run(random.Random(seed))
    outcome = shuffled.bill()
    assert [row[:4] for row in outcome] == [
        ("again", "failed", "failed:exit_code", 2),
        ("bad", "failed", "failed:exit_code", 1),
        ("good", "succeeded", "succeeded", 1),
    ]
    assert all(row[6] == 0 for row in outcome), "nothing is held any more"


def test_poison_is_parked_with_its_reason_and_stops_nobody(database: Database) -> None:
    line = Line(database)
    with _poisoned():
        line.run(None)
        for _ in range(ATTEMPTS_MAX):
            line._pass_time(600)
            line.carry(None)
    query = "SELECT subscriber, error FROM outbox_deliveries WHERE done_at IS NULL AND parked_at IS NOT NULL"
    with database.read() as session:
        parked = session.execute(text(query)).all()
    assert {(row.subscriber, row.error) for row in parked} == {("billing.release_ended", "ValueError: poison")}
    assert [row[1] for row in line.bill()] == ["failed", "failed", "succeeded"], "everybody else went on"


@contextmanager
def _poisoned() -> Iterator[None]:
    """A handler that fails at every message of its kind."""

    def fail(*_: object) -> None:
        raise ValueError("poison")

    subscribed, name = subscriptions._subscriptions[JobEnded.__name__], "billing.release_ended"
    sound = subscribed[name]
    subscribed[name] = replace(sound, handler=fail)
    try:
        yield
    finally:
        subscribed[name] = sound
