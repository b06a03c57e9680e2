"""Scheduler and billing are compared: what one has not heard is said again, until they agree."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from billing.charging import funding
from billing.ledger import audit
from billing.treasury import deposits
from billing.treasury.arrivals import Arrival
from billing.treasury.custody import Custody
from infra.database import Database
from infra.outbox.delivery import by_subscriber, claim, deliver
from market.agent_api import AttemptStatus, JoinRequest
from market.clock import ManualClock
from market.resources import Inventory, Unit
from market.signing import NodeKey
from market.specs import parse_job_spec
from monitoring import reconciliation
from scheduler.rounds import placing
from scheduler.supply import nodes, providers
from scheduler.work import attempts, jobs
from scheduler.work.jobs import NewJob

OWNER = "org_1"
SPEC = {"run": "true", "resources": {"cpu": 1, "memory": "1GB", "disk": "1GB"}, "max_duration": "10m"}


@pytest.fixture
def clock() -> ManualClock:
    """At the wall's time: messages are due by the database's clock."""
    return ManualClock(datetime.now(UTC))


@pytest.fixture
def market(database: Database, clock: ManualClock) -> Database:
    """One job, placed and ended; billing has not heard a word of it after the submit."""
    from solders.keypair import Keypair

    with database.transaction() as session:
        now = clock.now()
        deposit = deposits.request(session, OWNER, 10_000_000, now, to=Custody(Keypair(), "mint"))
        deposits.credit(session, deposit.deposit_id, [Arrival("signature", 0, 10_000_000)], now)
        inventory = {"hostname": "h", "cpu_milli": 8000, "memory_bytes": 2**34, "disk_bytes": 2**37}
        have = Inventory.model_validate({**inventory, "sandbox": "bubblewrap", "agent_version": "1"})
        join = JoinRequest(public_key=NodeKey.generate().public_hex, possession="0" * 128, name="n", inventory=have)
        node = nodes.join(session, providers.create(session, "p", now).id, join, now)
        nodes.heartbeat(session, [nodes.Heartbeat(node.id, "boot", "ready")], now)
        terms = funding.JobTerms("job_1", OWNER, Unit.CPU, 1000, 1_000_000, None, 600)
        window = funding.open_job(session, terms, now)
        jobs.submit(session, [NewJob("job_1", OWNER, parse_job_spec(SPEC), None, 1_000_000, window.seconds)], now)
    assert placing.run(database, clock, limit=10) == 1
    clock.advance(timedelta(seconds=10))
    with database.transaction() as session:
        attempt = session.scalar(text("SELECT id FROM attempts"))
        done = AttemptStatus(attempt_id=attempt, state="exited", exit_code=0)
        attempts.report(session, node.id, [done], clock.now())
    return database


def found(database: Database, clock: ManualClock) -> list[str]:
    with database.transaction() as session:
        return reconciliation.reconcile(session, clock.now())


def missed(database: Database, clock: ManualClock) -> list[str]:
    """What was not heard. The test's clock runs ahead of the database's, and nobody captures."""
    return [line for line in found(database, clock) if "said again" in line]


def heard(database: Database, clock: ManualClock) -> None:
    """What relay and worker do, until nothing is due."""
    for _ in range(10):
        clock.advance(timedelta(seconds=30))
        with database.transaction() as session:
            due = claim(session, clock.now())
        for subscriber, message_ids in by_subscriber(due).items():
            deliver(database, clock, subscriber, message_ids)


def test_messages_on_their_way_are_not_missed(market: Database, clock: ManualClock) -> None:
    clock.advance(timedelta(minutes=5))
    assert found(market, clock) == []
    clock.advance(timedelta(minutes=6))
    assert all("overdue" in line for line in found(market, clock)) and found(market, clock)
    heard(market, clock)
    assert found(market, clock) == []


def test_what_was_never_heard_is_said_again_until_both_agree(market: Database, clock: ManualClock) -> None:
    with market.transaction() as session:
        session.execute(text("UPDATE outbox_deliveries SET done_at = now()"))
    clock.advance(timedelta(minutes=5))
    told = []
    for _ in range(4):
        told += missed(market, clock)
        assert missed(market, clock) == [], "it is on its way now"
        heard(market, clock)
        clock.advance(timedelta(minutes=5))
    for words in ("does not know lease_", "does not know that lease_", "does not know that job_1 ended"):
        assert sum(words in line for line in told) == 1, told
    assert missed(market, clock) == []
    with market.read() as session:
        assert session.scalar(text("SELECT count(*) FROM metered_leases WHERE ended_at IS NOT NULL")) == 1
        assert audit.check(session) == []


def test_a_parked_message_is_said_every_time_and_not_repeated(market: Database, clock: ManualClock) -> None:
    with market.transaction() as session:
        session.execute(text("UPDATE outbox_deliveries SET parked_at = now(), error = 'Boom: why'"))
    clock.advance(timedelta(minutes=5))
    for _ in range(2):
        lines = found(market, clock)
        assert lines and all("was parked: Boom: why" in line for line in lines)
