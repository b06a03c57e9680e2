"""What an agent says of its node's health takes GPUs and nodes out of the market, and brings them back."""

from datetime import timedelta

import pytest
from market_world import World, inventory
from sqlalchemy import select

from market.agent_api import HealthReport
from market.errors import NotFound
from market.health import Condition, HealthCode
from market.health import GpuMinute as ToldMinute
from market.ids import new_id
from scheduler.proofs import mending
from scheduler.supply import health, nodes
from scheduler.tables import Gpu, GpuMinute, Job, LeaseGpu, Node, NodeCondition


def uuid_of(node: Node, index: int, world: World) -> str:
    return world.session.scalars(select(Gpu.uuid).where(Gpu.node_id == node.id, Gpu.index == index)).one()


def say(world: World, node: Node, *conditions: Condition, minutes: tuple[ToldMinute, ...] = ()) -> None:
    report = HealthReport(conditions=list(conditions), minutes=list(minutes))
    health.take(world.session, node.id, report, world.clock.now())
    world.session.flush()


def proven(world: World, node: Node) -> None:
    """All of its GPUs have passed a proof that began now."""
    for gpu in world.session.scalars(select(Gpu).where(Gpu.node_id == node.id)):
        mending.release(world.session, node.id, gpu.uuid, world.clock.now())
    world.session.expire_all()


def standing(world: World, node: Node) -> list[tuple[str, str | None]]:
    return [(each.code, each.gpu_uuid) for each in health.of_nodes(world.session, [node.id])[node.id]]


def test_nothing_is_placed_on_a_gpu_in_quarantine_until_its_agent_takes_it_back(world: World) -> None:
    node = world.node(["H100", "H100"])
    sick = uuid_of(node, 0, world)
    say(world, node, Condition(code=HealthCode.GPU_LOST, gpu_uuid=sick, detail="gone"))

    one, two = world.job(resources={"gpu": 1}), world.job(resources={"gpu": 1})
    assert world.place() == 1
    assert world.session.get_one(Job, one).attempts_placed == 1
    held = world.session.scalars(select(Gpu.uuid).join(LeaseGpu, LeaseGpu.gpu_id == Gpu.id)).all()
    assert held == [uuid_of(node, 1, world)]

    say(world, node)
    assert world.place() == 0, "its agent's word took it out, and does not bring it back"
    assert standing(world, node) == [("awaits_proof", sick)]
    proven(world, node)
    assert world.place() == 1
    assert world.session.get_one(Job, two).attempts_placed == 1
    assert standing(world, node) == []


def test_nothing_is_placed_on_a_node_in_quarantine_and_its_other_work_goes_on(world: World) -> None:
    node = world.node(["H100"])
    _, attempt_id = world.running(resources={"cpu": 1})
    say(world, node, Condition(code=HealthCode.DISK_FULL, detail="0.1 GB left"))
    world.job(resources={"cpu": 1})
    world.job(resources={"gpu": 1})
    assert world.place() == 0
    assert world.report(attempt_id, "running") == [attempt_id]
    say(world, node)
    assert world.place() == 2


def test_a_condition_that_does_not_quarantine_is_told_and_nothing_else(world: World) -> None:
    node = world.node(["H100"])
    revision = node.revision
    say(world, node, Condition(code=HealthCode.PCIE_NARROW, gpu_uuid=uuid_of(node, 0, world), detail="4 of 16 lanes"))
    assert node.revision == revision
    world.job(resources={"gpu": 1})
    assert world.place() == 1
    (told,) = health.standing(world.session)
    assert (told.node_name, told.quarantines, told.detail) == ("node", False, "4 of 16 lanes")
    assert "riser" in told.remedy


def test_a_round_that_was_decided_before_the_quarantine_is_not_applied(world: World) -> None:
    """Any placement that was decided on the facts before is dropped, by the node's revision."""
    node = world.node(["H100"])
    before = node.revision
    say(world, node, Condition(code=HealthCode.TOO_HOT, gpu_uuid=uuid_of(node, 0, world)))
    assert node.revision == before + 1
    say(world, node, Condition(code=HealthCode.TOO_HOT, gpu_uuid=uuid_of(node, 0, world)))
    assert node.revision == before + 1, "the same said again changes nothing"


def test_a_quarantine_ends_with_a_proof_which_makes_older_decisions_void(world: World) -> None:
    node = world.node(["H100"])
    condition = Condition(code=HealthCode.TOO_HOT, gpu_uuid=uuid_of(node, 0, world))
    say(world, node, condition)
    say(world, node)
    gpu = world.session.scalars(select(Gpu).where(Gpu.node_id == node.id)).one()
    assert (gpu.quarantined, gpu.mended_at) == (True, world.clock.now())
    revision = node.revision
    proven(world, node)
    assert (gpu.quarantined, node.revision) == (False, revision + 1)


def test_a_proof_that_began_before_the_card_was_well_shows_nothing(world: World) -> None:
    node = world.node(["H100"])
    began = world.clock.now()
    uuid = uuid_of(node, 0, world)
    say(world, node, Condition(code=HealthCode.GPU_LOST, gpu_uuid=uuid))
    mending.release(world.session, node.id, uuid, began + timedelta(days=1))
    assert standing(world, node)[0][0] == "gpu_lost", "nor does any while it is not well"
    world.clock.advance(timedelta(minutes=1))
    say(world, node)
    mending.release(world.session, node.id, uuid, began)
    assert standing(world, node) == [("awaits_proof", uuid)]
    say(world, node, Condition(code=HealthCode.GPU_LOST, gpu_uuid=uuid))
    assert standing(world, node) == [("gpu_lost", uuid)], "what comes again is told as what it is"


def test_on_a_market_without_proofs_whatever_is_well_is_taken_back(world: World) -> None:
    well, sick = world.node(["H100"]), world.node(["A100"])
    for node in (well, sick):
        say(world, node, Condition(code=HealthCode.TOO_HOT, gpu_uuid=uuid_of(node, 0, world)))
    say(world, well)
    mending.release_all(world.session)
    world.session.expire_all()
    gpus = world.session.scalars(select(Gpu).order_by(Gpu.model.desc())).all()
    assert [gpu.quarantined for gpu in gpus] == [False, True]


def test_what_ended_is_kept_with_its_times_and_comes_again_as_a_new_one(world: World) -> None:
    node = world.node(["H100"])
    condition = Condition(code=HealthCode.TOO_HOT, gpu_uuid=uuid_of(node, 0, world))
    began = world.clock.now()
    say(world, node, condition)
    world.clock.advance(timedelta(minutes=5))
    say(world, node)
    world.clock.advance(timedelta(minutes=11))
    say(world, node, condition)
    rows = world.session.scalars(select(NodeCondition).order_by(NodeCondition.id)).all()
    assert [(row.began_at, row.ended_at) for row in rows] == [
        (began, began + timedelta(minutes=5)),
        (began + timedelta(minutes=16), None),
    ]


def test_what_flutters_is_one_condition_that_goes_on(world: World) -> None:
    node = world.node(["H100"])
    began = world.clock.now()
    for _ in range(20):
        say(world, node, Condition(code=HealthCode.TOO_HOT, gpu_uuid=uuid_of(node, 0, world)))
        world.clock.advance(timedelta(minutes=1))
        say(world, node)
        world.clock.advance(timedelta(minutes=1))
    (row,) = world.session.scalars(select(NodeCondition)).all()
    assert (row.began_at, row.ended_at) == (began, began + timedelta(minutes=39))


def test_a_nodes_past_is_bounded_whatever_its_agent_says(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "PAST_MAX", 5)
    node = world.node()
    for number in range(10):
        say(world, node, Condition(code=HealthCode.GPU_LOST, gpu_uuid=f"GPU-made-up-{number}"))
        world.clock.advance(timedelta(minutes=1))
    rows = world.session.scalars(select(NodeCondition).order_by(NodeCondition.id)).all()
    assert len(rows) == 6
    assert [row.gpu_uuid for row in rows if row.ended_at is None] == ["GPU-made-up-9"]


def test_a_card_that_left_and_comes_back_is_still_in_quarantine(world: World) -> None:
    node = world.node(["H100", "H100"])
    have = inventory(["H100", "H100"])
    sick = uuid_of(node, 1, world)
    say(world, node, Condition(code=HealthCode.GPU_LOST, gpu_uuid=sick))
    nodes.update_inventory(world.session, node.id, have.model_copy(update={"gpus": have.gpus[:1]}), world.clock.now())
    nodes.update_inventory(world.session, node.id, have, world.clock.now())
    gpus = health.gpus_of(world.session, [node.id])[node.id]
    assert [(gpu.present, gpu.quarantined) for gpu in gpus] == [(True, False), (True, True)]


def test_a_node_that_is_not_known_is_not_taken(world: World) -> None:
    with pytest.raises(NotFound):
        health.take(world.session, new_id("node"), HealthReport(conditions=[]), world.clock.now())


def test_telemetry_is_kept_by_the_minute_once_for_a_day(world: World) -> None:
    node = world.node(["H100", "H100"])
    owner = node.provider_id
    minute = ToldMinute(
        gpu_uuid=uuid_of(node, 1, world), ago_seconds=30, samples=60, busy_percent=(0, 50, 100), energy_millijoules=7
    )
    stranger = minute.model_copy(update={"gpu_uuid": "GPU-of-somebody"})
    say(world, node, minutes=(minute, stranger))
    say(world, node, minutes=(minute,))

    since = world.clock.now() - timedelta(hours=1)
    ((uuid, kept),) = health.minutes_of(world.session, owner, node.id, since, limit=10)
    assert (uuid, kept.busy_percent, kept.temperature_c, kept.energy_millijoules) == (
        minute.gpu_uuid,
        [0, 50, 100],
        None,
        7,
    )
    ended = world.clock.now() - timedelta(seconds=30)
    assert ended - timedelta(minutes=2) < kept.minute_at <= ended - timedelta(minutes=1)
    with pytest.raises(NotFound):
        health.minutes_of(world.session, world.provider().id, node.id, since, limit=10)

    say(world, node, Condition(code=HealthCode.CLOCK_OFF))
    say(world, node)
    assert health.trim(world.session, world.clock.now()) == 0
    world.clock.advance(timedelta(hours=25))
    assert health.trim(world.session, world.clock.now()) == 1
    assert world.session.scalars(select(GpuMinute)).all() == []
    world.clock.advance(timedelta(days=31))
    assert health.trim(world.session, world.clock.now()) == 1
