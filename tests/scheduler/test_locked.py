"""Locked work: its rows are those that a query of the models would load, every column of them."""

from market_world import World
from sqlalchemy import inspect, select

from infra.database import Base
from scheduler.tables import Attempt, Job, Lease, Node
from scheduler.work.leases import lock_nodes
from scheduler.work.locked import lock_attempts, lock_jobs


def _values(row: Base) -> dict[str, object]:
    return {column.key: getattr(row, column.key) for column in inspect(type(row)).column_attrs}


def test_locked_rows_are_as_a_query_would_load_them(world: World) -> None:
    world.node(["A100"])
    attempt_id = world.running(resources={"gpu": "1"}, labels=["a"])[1]
    world.session.flush()
    world.session.expunge_all()
    work = lock_attempts(world.session, [attempt_id])[attempt_id]
    node = lock_nodes(world.session, [work.lease.node_id])[work.lease.node_id]
    loaded = {type(row): _values(row) for row in (*work, node)}
    world.session.expunge_all()
    for model in (Job, Attempt, Lease, Node):
        queried = world.session.scalars(select(model)).one()
        assert loaded[model] == _values(queried), model.__name__
        assert {type(value) for value in loaded[model].values()} == {type(value) for value in _values(queried).values()}


def test_who_is_not_there_is_left_out(world: World) -> None:
    assert lock_jobs(world.session, ["job_1"]) == {} == lock_attempts(world.session, ["att_1"])
    assert lock_attempts(world.session, []) == {} == lock_nodes(world.session, [])
