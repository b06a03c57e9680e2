"""Slices of cards (MIG) from the driver to the lease: for those that ask for their profile, and for nobody else."""

from typing import Any

import pytest
from fake_driver import FakeDriver, build, looking
from market_world import ORGANIZATION, World, inventory
from sqlalchemy import select

from market.errors import InvalidInput, NotFound
from market.resources import GpuFacts, Unit, parse_gpu
from scheduler.rounds import explaining
from scheduler.supply import nodes, offers, prices
from scheduler.supply.offers import OfferFilters
from scheduler.tables import Gpu, LeaseGpu, Node

CARD = "NVIDIA H100 80GB HBM3"
CUT = ("0.mig 1", "0.slices 2", "0/1.profile 3g.40gb")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[GpuFacts]:
    """What the agent tells over a driver with a card that is cut into 1g.10gb and 3g.40gb, and a whole one."""
    folder = tmp_path_factory.mktemp("cut")
    driver = FakeDriver(build(folder), folder / "steering")
    driver.open_slices("gpu190/gi1", "gpu190/gi2")
    driver.say(*CUT)
    with looking(driver) as looker:
        return [GpuFacts.model_validate(fact) for fact in looker.look()["facts"]]


@pytest.fixture
def node(world: World, told: list[GpuFacts]) -> Node:
    return has(world, world.node(gpu_price=300_000), told)


def has(world: World, node: Node, facts: list[GpuFacts]) -> Node:
    """The node tells of these devices now."""
    declared = inventory().model_copy(update={"gpus": facts})
    nodes.update_inventory(world.session, node.id, declared, world.clock.now())
    world.session.refresh(node)
    return node


def given(world: World, job_id: str) -> list[tuple[str, str | None]]:
    """The UUIDs and profiles of what the job's newest attempt holds."""
    held = select(Gpu).join(LeaseGpu, LeaseGpu.gpu_id == Gpu.id)
    lease = world.lease(world.newest(job_id).id)
    return [(gpu.uuid, gpu.mig_profile) for gpu in world.session.scalars(held.where(LeaseGpu.lease_id == lease.id))]


def asked(world: World, gpu: str | int) -> str:
    return world.job(resources={"gpu": gpu}, budget={"max_price": 1})


@pytest.mark.usefixtures("node")
@pytest.mark.parametrize(
    ("gpu", "profile"),
    [(1, None), ("H100", None), ("24GB..", None), ("1g.10gb", "1g.10gb"), ("H100:3g.40gb", "3g.40gb")],
)
def test_a_job_gets_what_it_asks_for_whole_or_of_its_profile(
    world: World, told: list[GpuFacts], gpu: str | int, profile: str | None
) -> None:
    job_id = asked(world, gpu)
    assert world.place() == 1
    expected = [fact.uuid for fact in told if fact.mig_profile == profile]
    assert given(world, job_id) == [(expected[0], profile)]


@pytest.mark.usefixtures("node")
def test_who_asks_for_a_card_waits_for_one_while_slices_are_free(world: World) -> None:
    asked(world, 1)
    second = asked(world, 1)
    assert world.place() == 1
    told = explaining.explain_job(world.session, ORGANIZATION, second, world.clock.now()).explanation
    assert dict(told.removed) == {"unit": 1, "mig": 2, "gpus_free": 1}
    assert asked(world, "1g.10gb") and world.place() == 1, "a slice is nobody's way round a card"


@pytest.mark.usefixtures("node")
def test_a_profile_that_nobody_has_is_said_with_what_there_is_instead(world: World) -> None:
    job_id = asked(world, "H100:2g.20gb")
    assert world.place() == 0
    told = explaining.explain_job(world.session, ORGANIZATION, job_id, world.clock.now()).explanation
    assert dict(told.removed) == {"unit": 1, "mig": 3}
    assert "gpu profile" in str(told)
    assert "instead of 2g.20gb" in str(told)


@pytest.mark.usefixtures("node")
def test_each_profile_is_an_offer_of_its_own_that_a_search_finds(world: World) -> None:
    def found(gpu: str | None) -> set[str]:
        wanted = None if gpu is None else parse_gpu(gpu)
        return {offer.model for offer in offers.search(world.session, OfferFilters(Unit.GPU, wanted))}

    assert found(None) == {CARD, f"{CARD} MIG 1g.10gb", f"{CARD} MIG 3g.40gb"}
    assert found("H100") == {CARD}
    assert found("1g.10gb") == {f"{CARD} MIG 1g.10gb"}


def test_each_profile_has_a_price_of_its_own(world: World, node: Node) -> None:
    def asks() -> dict[str, int]:
        return {offer.model: offer.price_microusd_per_unit_hour for offer in offers.of_node(world.session, node.id)}

    before = asks()
    slice_ = f"{CARD} MIG 1g.10gb"
    now = world.clock.now()
    prices.set_price(world.session, node.provider_id, node.id, Unit.GPU, 50_000, now, model=slice_)
    assert asks() == {**before, slice_: 50_000}
    with pytest.raises(NotFound, match="never offered"):
        prices.set_price(world.session, node.provider_id, node.id, Unit.GPU, 1, now, model=f"{CARD} MIG 2g.20gb")
    prices.set_price(world.session, node.provider_id, node.id, Unit.GPU, 70_000, now)
    assert asks() == {model: 70_000 if model != "CPU" else price for model, price in before.items()}


def test_a_card_that_is_cut_otherwise_loses_what_it_was_and_a_lease_keeps_what_it_holds(
    world: World, node: Node, told: list[GpuFacts]
) -> None:
    running, _ = world.running(resources={"gpu": "3g.40gb"}, budget={"max_price": 1})
    now_cut = told[0].model_copy(update={"uuid": "MIG-anew", "mig_profile": "2g.20gb", "model": f"{CARD} MIG 2g.20gb"})
    has(world, node, [now_cut, told[2]])
    present = {gpu.uuid: gpu.present for gpu in world.session.scalars(select(Gpu))}
    assert present == {told[0].uuid: False, told[1].uuid: False, told[2].uuid: True, "MIG-anew": True}
    assert {offer.model for offer in offers.of_node(world.session, node.id)} == {"CPU", CARD, now_cut.model}
    asked(world, "1g.10gb")
    assert world.place() == 0
    assert given(world, running) == [(told[1].uuid, "3g.40gb")]
    anew = asked(world, "2g.20gb")
    assert world.place() == 1
    assert given(world, anew) == [("MIG-anew", "2g.20gb")]


@pytest.mark.parametrize(
    "lie",
    [
        {"mig_profile": None},
        {"mig_profile": None, "model": CARD},
        {"model": CARD},
        {"mig_profile": "3g.40gb"},
        {"uuid": "GPU-0000"},
        {"uuid": "GPU-0000", "mig_profile": None},
    ],
    ids=str,
)
def test_a_slice_that_does_not_say_it_is_one_throughout_is_refused(
    world: World, node: Node, told: list[GpuFacts], lie: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput, match="slice of a card"):
        has(world, node, [told[0].model_copy(update=lie), told[2]])


def test_a_node_of_slices_alone_has_nothing_for_who_asks_for_cards(
    world: World, node: Node, told: list[GpuFacts]
) -> None:
    has(world, node, told[:2])
    for gpu in (1, 2, "H100", "10GB..", "H100:2"):
        asked(world, gpu)
    assert world.place() == 0
