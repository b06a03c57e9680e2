"""Supply intervals follow what is offered: who is heard, with how much, from when to when."""

from datetime import timedelta

from market_world import LIMITS, World, inventory
from sqlalchemy import select

from market.agent_api import HealthReport
from market.health import Condition, HealthCode
from market.resources import Unit
from scheduler.proofs import mending, standings
from scheduler.proofs.judgement import ProofState
from scheduler.supply import health, intervals, nodes, prices
from scheduler.tables import Gpu, Node, NodeState, SupplyInterval
from scheduler.upkeep import listening, sweep


def look(world: World, seconds: float = 0) -> list[tuple[str, int, float, float | None]]:
    """Let that much time pass, follow, and tell the intervals: (model, quantity, from, until) in seconds."""
    world.clock.advance(timedelta(seconds=seconds))
    listening.note(world.session, world.clock.now())
    sweep.mark_lost(world.session, world.clock.now(), LIMITS)
    intervals.follow(world.session, world.clock.now())
    rows = world.session.scalars(
        select(SupplyInterval)
        .order_by(SupplyInterval.model, SupplyInterval.from_at)
        .execution_options(populate_existing=True)
    )
    begin = world.session.scalars(select(Node.joined_at).order_by(Node.joined_at)).first()
    assert begin is not None

    def since(at: object) -> float | None:
        return None if at is None else (at - begin).total_seconds()  # type: ignore[operator]

    return [(row.model, row.quantity_milli, since(row.from_at) or 0.0, since(row.until_at)) for row in rows]


def test_an_interval_lasts_as_long_as_the_same_is_offered(world: World) -> None:
    node = world.node(["H100", "H100"])
    assert look(world) == [("CPU", 16_000, 0, None), ("H100", 2000, 0, None)]
    world.clock.advance(timedelta(seconds=10))
    world.beat(node)
    assert look(world) == [("CPU", 16_000, 0, None), ("H100", 2000, 0, None)]
    nodes.update_inventory(world.session, node.id, inventory(["H100"]), world.clock.now())
    assert look(world) == [("CPU", 16_000, 0, None), ("H100", 2000, 0, 10), ("H100", 1000, 10, None)]


def test_a_price_changes_nothing_and_a_withdrawal_ends_it(world: World) -> None:
    node = world.node(["H100"])
    look(world)
    prices.set_price(world.session, node.provider_id, node.id, Unit.GPU, 7, world.clock.now())
    assert look(world, 5) == [("CPU", 16_000, 0, None), ("H100", 1000, 0, None)]
    prices.withdraw(world.session, node.provider_id, node.id, Unit.GPU, world.clock.now())
    assert look(world) == [("CPU", 16_000, 0, None), ("H100", 1000, 0, 5)]


def test_a_lost_node_offered_until_it_was_last_seen(world: World) -> None:
    node = world.node()
    look(world)
    for _ in range(4):
        look(world, 10)
    world.session.refresh(node)
    assert node.state is NodeState.LOST
    assert look(world) == [("CPU", 16_000, 0, 0)]
    world.beat(node)
    assert look(world) == [("CPU", 16_000, 0, 0), ("CPU", 16_000, 40, None)]


def test_a_market_that_was_off_for_a_night_offered_nothing_in_it(world: World) -> None:
    node = world.node()
    look(world)
    world.clock.advance(timedelta(seconds=600))
    world.beat(node)
    assert look(world) == [("CPU", 16_000, 0, None)], "ten minutes without anybody following are no end"
    world.clock.advance(timedelta(hours=8))
    world.beat(node)
    assert look(world) == [("CPU", 16_000, 0, 600), ("CPU", 16_000, 600 + 8 * 3600, None)]


def told(world: World, node: Node, *codes: HealthCode) -> None:
    """What stands against the node's first GPU, or the whole node."""
    uuid = world.session.scalars(select(Gpu.uuid).where(Gpu.node_id == node.id).order_by(Gpu.index)).first()
    of_node = {HealthCode.DISK_FULL}
    conditions = [Condition(code=code, gpu_uuid=None if code in of_node else uuid) for code in codes]
    health.take(world.session, node.id, HealthReport(conditions=conditions), world.clock.now())


def test_what_is_in_quarantine_could_not_have_been_leased(world: World) -> None:
    node = world.node(["H100", "H100"])
    look(world)
    world.clock.advance(timedelta(seconds=10))
    world.beat(node)
    told(world, node, HealthCode.TOO_HOT)
    assert look(world)[1:] == [("H100", 2000, 0, 10), ("H100", 1000, 10, None)]
    told(world, node)
    assert look(world)[1:] == [("H100", 2000, 0, 10), ("H100", 1000, 10, None)], "it has not proven itself yet"
    mending.release_all(world.session)
    assert look(world, 1)[1:] == [("H100", 2000, 0, 10), ("H100", 1000, 10, 11), ("H100", 2000, 11, None)]
    told(world, node, HealthCode.DISK_FULL)
    assert all(until is not None for *_, until in look(world, 1)), "nor can anything of the whole node"


def test_what_is_leased_counts_until_it_ends_whatever_befalls_its_card(world: World) -> None:
    node = world.node(["H100", "H100"])
    _, attempt_id = world.running(resources={"gpu": 1})
    world.running(resources={"cpu": 3})
    look(world)
    told(world, node, HealthCode.TOO_HOT, HealthCode.DISK_FULL)
    assert [(model, quantity) for model, quantity, _, until in look(world, 1) if until is None] == [
        ("CPU", 3000),
        ("H100", 1000),
    ]
    world.report(attempt_id, "exited", exit_code=0)
    assert [(model, quantity) for model, quantity, _, until in look(world, 1) if until is None] == [("CPU", 3000)]


def test_a_banned_card_is_no_supply(world: World) -> None:
    node = world.node(["H100", "H100"])
    uuid = world.session.scalars(select(Gpu.uuid).where(Gpu.node_id == node.id, Gpu.index == 0)).one()
    standings.lock(world.session, node.id, uuid).state = ProofState.BANNED
    world.session.flush()
    assert look(world)[1] == ("H100", 1000, 0, None)
