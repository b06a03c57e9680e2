"""Supply intervals follow what is offered: who is heard, with how much, from when to when."""

from datetime import timedelta

from market_world import LIMITS, World, inventory
from sqlalchemy import select

from market.resources import Unit
from scheduler.supply import intervals, nodes, offers
from scheduler.tables import Node, NodeState, SupplyInterval
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
    offers.set_price(world.session, node.provider_id, node.id, Unit.GPU, 7, world.clock.now())
    assert look(world, 5) == [("CPU", 16_000, 0, None), ("H100", 1000, 0, None)]
    offers.withdraw(world.session, node.provider_id, node.id, Unit.GPU, world.clock.now())
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
