"""Settling: what a long round placed is written while it still chooses, and is one transaction all the same."""

from collections.abc import Callable

import pytest
from market_world import World, inventory
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from infra.bulk import insert_rows
from infra.database import Database
from infra.outbox.tables import OutboxMessage
from market.clock import ManualClock
from market.states import JobState
from scheduler.placement import engine
from scheduler.rounds import placing, records
from scheduler.rounds.queueing import Walk
from scheduler.rounds.settling import Settling
from scheduler.supply import nodes
from scheduler.tables import Attempt, Job, Lease, LeaseGpu, Node, PlacementRound, Provider
from scheduler.work import leases

NODES, JOBS = 4, 8


@pytest.fixture(autouse=True)
def by_twos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "AHEAD", 2)


@pytest.fixture
def node_ids(database: Database, clock: ManualClock) -> list[str]:
    """Nodes of two GPUs, each dearer than the one before, and a job for every GPU."""
    with database.transaction() as session:
        world = World(session, clock)
        joined = [world.node(["NVIDIA H100"] * 2, gpu_price=100_000 * (at + 1)).id for at in range(NODES)]
        for _ in range(JOBS):
            world.job(resources={"gpu": 1, "cpu": 1}, budget={"max_price": 1})
        return joined


def place(database: Database, clock: ManualClock) -> int:
    with database.transaction() as session:
        return placing.place(session, clock, Walk(100), seed="s").placed


def after_the_first(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Something happens once the first decisions of a round are on their way."""
    ahead, left = Settling.ahead, [happens]

    def then(self: Settling, decisions: object) -> None:
        ahead(self, decisions)  # type: ignore[arg-type]
        if left:
            left.pop()()

    monkeypatch.setattr(Settling, "ahead", then)


def counts(database: Database) -> list[int | None]:
    with database.read() as session:
        tables = (Attempt, Lease, LeaseGpu, OutboxMessage, PlacementRound)
        return [session.scalar(select(func.count()).select_from(table)) for table in tables]


def test_all_of_a_long_round_is_placed_counted_and_on_record(
    database: Database, clock: ManualClock, node_ids: list[str]
) -> None:
    told = counts(database)[3] or 0
    assert place(database, clock) == JOBS
    assert counts(database) == [JOBS, JOBS, JOBS, told + JOBS, 1]
    with database.read() as session:
        free = session.scalars(select(Node.cpu_free_milli)).all()
        assert set(free) == {16_000 - 2 * 1000}
        (kept,) = records.recorded(session)
        assert records.replay(session, kept.id).agrees
        assert set(session.scalars(select(Job.state))) == {JobState.PLACED}


def test_a_node_that_changes_while_the_round_chooses_gets_nothing(
    database: Database, clock: ManualClock, node_ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def change() -> None:
        with database.transaction() as session:
            nodes.update_inventory(session, node_ids[2], inventory(), clock.now())

    after_the_first(monkeypatch, change)
    assert place(database, clock) == JOBS - 2
    with database.read() as session:
        assert set(session.scalars(select(Lease.node_id))) == set(node_ids) - {node_ids[2]}
        assert session.scalar(select(func.count()).where(Job.state == JobState.QUEUED)) == 2


def test_a_round_that_holds_nodes_waits_for_no_other(
    database: Database, clock: ManualClock, node_ids: list[str]
) -> None:
    with database.transaction() as other:
        leases.lock_nodes(other, [node_ids[2]])
        assert place(database, clock) == JOBS - 2
    assert place(database, clock) == 2


@pytest.mark.parametrize("refused_by", ["the database", "the choice"])
def test_a_round_that_fails_under_way_has_written_nothing(
    database: Database, clock: ManualClock, node_ids: list[str], monkeypatch: pytest.MonkeyPatch, refused_by: str
) -> None:
    before = counts(database)
    ahead = Settling.ahead

    def spoilt(self: Settling, decisions: object) -> None:
        if refused_by == "the database":
            insert_rows(self._session, Provider, [{"id": None, "name": "nobody", "created_at": clock.now()}])
        ahead(self, decisions)  # type: ignore[arg-type]
        if refused_by == "the choice":
            raise RuntimeError

    with monkeypatch.context() as patch, pytest.raises((IntegrityError, RuntimeError)):
        patch.setattr(Settling, "ahead", spoilt)
        place(database, clock)
    assert counts(database) == before
    assert place(database, clock) == JOBS
