"""Supply: a node is its key, its offers follow what it has, and a price change never touches a lease."""

from datetime import timedelta
from typing import Any

import pytest
from market_world import GIB, ORGANIZATION, World, inventory, join_request
from sqlalchemy import select

from market.errors import Conflict, InvalidInput, NoOffer, NotFound
from market.resources import GpuRequest, Unit
from market.signing import NodeKey
from market.specs import parse_job_spec
from scheduler import nodes, offers, providers, quotes
from scheduler.nodes import Heartbeat
from scheduler.offers import DEFAULT_PRICE_MICROUSD, OfferFilters
from scheduler.tables import Gpu, Node, NodeState, Offer

H100 = "NVIDIA H100 80GB HBM3"


def standing(world: World, node: Node) -> dict[str, int]:
    return {offer.model: offer.price_microusd_per_unit_hour for offer in offers.of_node(world.session, node.id)}


def test_a_node_joins_with_an_offer_for_its_gpus_and_one_for_its_cpus(world: World) -> None:
    node = world.node([H100, H100], gpu_price=2_000_000)
    assert standing(world, node) == {H100: 2_000_000, "CPU": DEFAULT_PRICE_MICROUSD[Unit.CPU]}
    assert nodes.public_key(world.session, node.id) == node.public_key
    assert nodes.of_provider(world.session, node.provider_id) == [node]
    assert nodes.counts(world.session)[NodeState.ONLINE] == 1


def test_joining_again_with_the_same_key_is_the_same_node_at_the_same_price(world: World) -> None:
    provider, key = world.provider(), NodeKey.generate()
    first = nodes.join(
        world.session,
        provider.id,
        join_request(inventory([H100]), key=key, price_microusd_per_gpu_hour=7),
        world.clock.now(),
    )
    again = nodes.join(world.session, provider.id, join_request(inventory([H100, "A10"]), key=key), world.clock.now())
    assert again.id == first.id
    assert standing(world, again)[H100] == standing(world, again)["A10"] == 7
    with pytest.raises(Conflict):
        nodes.join(world.session, world.provider().id, join_request(inventory(), key=key), world.clock.now())


@pytest.mark.parametrize(
    "claimed",
    [
        inventory([H100], simulated=True).model_copy(update={"simulated": False}),
        inventory([H100]).model_copy(update={"simulated": True}),
    ],
)
def test_simulated_gpus_cannot_pass_for_real_ones(world: World, claimed: Any) -> None:
    with pytest.raises(InvalidInput):
        nodes.join(world.session, world.provider().id, join_request(claimed), world.clock.now())


def test_simulated_nodes_ask_nothing_and_cannot_ask_more(world: World) -> None:
    node = world.node([H100], simulated=True, gpu_price=5)
    assert set(standing(world, node).values()) == {0}
    with pytest.raises(InvalidInput):
        offers.set_price(world.session, node.provider_id, node.id, Unit.GPU, 5, world.clock.now())


def test_a_new_price_ends_the_old_offer_and_leaves_the_lease_alone(world: World) -> None:
    node = world.node([H100, H100], gpu_price=100)
    _, attempt_id = world.running(resources={"gpu": 1})
    world.clock.advance(timedelta(seconds=1))
    offers.set_price(world.session, node.provider_id, node.id, Unit.GPU, 300, world.clock.now())
    assert world.lease(attempt_id).price_microusd_per_unit_hour == 100
    job_id = world.job(resources={"gpu": 1})
    world.place()
    assert world.lease(world.newest(job_id).id).price_microusd_per_unit_hour == 300
    rows = world.session.execute(
        select(Offer.price_microusd_per_unit_hour, Offer.ended_at).where(Offer.model == H100).order_by(Offer.id)
    ).all()
    assert [tuple(row) for row in rows] == [(100, world.clock.now()), (300, None)]


def test_only_its_provider_sets_a_nodes_price(world: World) -> None:
    node = world.node([H100])
    with pytest.raises(NotFound):
        offers.set_price(world.session, world.provider().id, node.id, Unit.GPU, 1, world.clock.now())


def test_what_a_provider_withdrew_stays_withdrawn_until_a_price_is_set(world: World) -> None:
    node = world.node([H100])
    offers.withdraw(world.session, node.provider_id, node.id, Unit.CPU, world.clock.now())
    nodes.update_inventory(world.session, node.id, inventory([H100]), world.clock.now())
    assert list(standing(world, node)) == [H100]
    world.job(budget={"max_price": 1})
    assert world.place() == 0
    offers.set_price(world.session, node.provider_id, node.id, Unit.CPU, 9, world.clock.now())
    assert standing(world, node)["CPU"] == 9


def test_a_gpu_that_falls_off_is_offered_no_more_and_comes_back_at_its_price(world: World) -> None:
    node = world.node([H100], gpu_price=100)
    _, attempt_id = world.running(resources={"gpu": 1})
    nodes.update_inventory(world.session, node.id, inventory(), world.clock.now())
    assert list(standing(world, node)) == ["CPU"]
    assert world.lease(attempt_id).released_at is None
    nodes.update_inventory(world.session, node.id, inventory([H100]), world.clock.now())
    assert standing(world, node)[H100] == 100
    assert world.session.scalar(select(Gpu.present).where(Gpu.node_id == node.id))


def test_a_gpu_that_is_gone_is_not_placed_on_though_its_sister_is_there(world: World) -> None:
    node = world.node([H100, H100])
    nodes.update_inventory(world.session, node.id, inventory([H100]), world.clock.now())
    (offer,) = offers.search(world.session, OfferFilters(unit=Unit.GPU))
    assert (offer.total_milli, offer.free_milli) == (1000, 1000)
    world.job(resources={"gpu": 2}, budget={"max_price": 9})
    assert world.place() == 0


def test_a_node_turns_simulated_only_without_leases_and_does_not_stay_free_of_charge(world: World) -> None:
    node = world.node([H100], gpu_price=7)
    _, attempt_id = world.running(resources={"gpu": 1})
    with pytest.raises(Conflict):
        nodes.update_inventory(world.session, node.id, inventory([H100], simulated=True), world.clock.now())
    world.report(attempt_id, "exited", exit_code=0)
    nodes.update_inventory(world.session, node.id, inventory([H100], simulated=True), world.clock.now())
    assert set(standing(world, node).values()) == {0}
    nodes.update_inventory(world.session, node.id, inventory([H100]), world.clock.now())
    assert standing(world, node)[H100] == DEFAULT_PRICE_MICROUSD[Unit.GPU]


def test_free_counters_follow_the_leases_through_a_shrinking_inventory(world: World) -> None:
    node = world.node(cpu=4000)
    _, attempt_id = world.running(resources={"cpu": 3})
    nodes.update_inventory(world.session, node.id, inventory(cpu=2000), world.clock.now())
    assert node.cpu_free_milli == 0
    world.report(attempt_id, "exited", exit_code=0)
    assert node.cpu_free_milli == 2000


def test_heartbeats_of_many_nodes_bring_lost_ones_back_and_never_turn_time_back(world: World) -> None:
    first, second = world.node(), world.node()
    first.state, first.lost_at = NodeState.LOST, world.clock.now()
    world.session.flush()
    revision = first.revision
    later = world.clock.advance(timedelta(seconds=3))
    beats = [
        Heartbeat(first.id, "b", "ready"),
        Heartbeat(second.id, "b", "down"),
        Heartbeat("node_unknown", "b", "ready"),
    ]
    nodes.heartbeat(world.session, beats, later)
    nodes.heartbeat(world.session, beats[:2], later - timedelta(seconds=2))
    for node in (first, second):
        world.session.refresh(node)
        assert (node.state, node.last_seen_at) == (NodeState.ONLINE, later)
    assert first.revision == revision + 1
    assert first.lost_at is None


def test_a_search_is_cheapest_first_and_says_what_was_removed(world: World) -> None:
    dear, cheap = world.node([H100], gpu_price=300), world.node([H100], gpu_price=100)
    world.node(["NVIDIA A10"])
    world.node([H100], simulated=True)
    lost = world.node([H100], gpu_price=1)
    lost.state = NodeState.LOST
    found = offers.survey(world.session, OfferFilters(gpu=GpuRequest(count=1, model="H100"), simulated=False))
    assert [offer.node_id for offer in found.offers] == [cheap.id, dear.id]
    assert found.removed == {"unit": 5, "simulated": 1, "gpu_model": 1, "online": 1}
    listed = offers.search(world.session, OfferFilters(unit=Unit.GPU, price_max_microusd=100), limit=1)
    assert [(offer.price_microusd_per_unit_hour, offer.simulated) for offer in listed] == [(0, True)]
    assert (found.offers[0].total_milli, found.offers[0].free_milli) == (1000, 1000)


def test_a_plan_names_the_limit_the_expected_price_and_the_highest_cost(world: World) -> None:
    world.node([H100], gpu_price=300_000)
    world.node([H100], gpu_price=100_000)
    spec = parse_job_spec({"run": "x", "resources": {"gpu": "H100"}, "max_duration": "2h"})
    plan = quotes.plan(world.session, spec, ORGANIZATION)
    assert (plan.offer_count, plan.price_limit_microusd_per_unit_hour) == (2, 300_000)
    assert plan.expected_price_microusd_per_unit_hour == 100_000
    assert plan.highest_cost_microusd == 600_000
    capped = parse_job_spec(
        {"run": "x", "resources": {"gpu": "H100"}, "budget": {"max_total": "0.05", "max_price": "0.2"}}
    )
    plan = quotes.plan(world.session, capped, ORGANIZATION)
    assert (plan.offer_count, plan.highest_cost_microusd) == (1, 50_000)


def test_without_an_offer_a_plan_is_refused_with_the_reason_unless_a_price_is_named(world: World) -> None:
    world.node([H100])
    with pytest.raises(NoOffer, match="1 with another GPU model"):
        quotes.plan(world.session, parse_job_spec({"run": "x", "resources": {"gpu": "B200"}}), ORGANIZATION)
    waiting = parse_job_spec({"run": "x", "resources": {"gpu": "B200"}, "budget": {"max_price": "1"}})
    plan = quotes.plan(world.session, waiting, ORGANIZATION)
    assert (plan.offers, plan.expected_price_microusd_per_unit_hour) == ([], None)
    assert "it waits for one at 1.00 USDC per GPU-hour or less" in plan.explanation


def test_a_providers_wallet_is_its_own_to_set(world: World) -> None:
    provider = world.provider()
    providers.set_wallet(world.session, provider.id, "wallet")
    assert providers.get(world.session, provider.id).wallet_address == "wallet"
    with pytest.raises(NotFound):
        providers.set_wallet(world.session, "prv_missing", "wallet")


def test_memory_of_a_node_is_what_its_cpu_offer_shows(world: World) -> None:
    world.node()
    assert offers.search(world.session, OfferFilters(unit=Unit.CPU))[0].memory_bytes == 64 * GIB
