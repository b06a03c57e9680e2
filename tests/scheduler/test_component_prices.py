"""What a provider asks beside its units is in the one price of a job, promised, frozen and told with its parts."""

import pytest
from market_world import GIB, ORGANIZATION, World

from market.components import ComponentPrices, Components
from market.errors import InvalidInput
from market.messages import AttemptPlaced
from market.resources import Unit
from market.specs import parse_job_spec
from scheduler.rounds import discounts, explaining, quotes, records
from scheduler.supply import offers, prices
from scheduler.supply.offers import OfferFilters
from scheduler.tables import LeaseComponents, Node, SpotAttempt

H100 = "NVIDIA H100"
BESIDE = {"cpu_microusd_per_hour": 5_000, "memory_microusd_per_gib_hour": 1_000, "disk_microusd_per_gib_hour": 100}
TAKES = {"gpu": 2, "cpu": 4, "memory": "16GiB", "disk": "100GiB"}
ALL_IN = 200_000 + (4 * 5_000 + 16 * 1_000 + 100 * 100) // 2
MADE = Components.of(200_000, ComponentPrices(**BESIDE), (4_000, 16 * GIB, 100 * GIB))


def asks(world: World, node: Node, components: dict[str, int], unit: Unit = Unit.GPU, price: int = 200_000) -> None:
    prices.set_price(world.session, node.provider_id, node.id, unit, price, world.clock.now(), components)


def market(world: World) -> Node:
    """Two GPUs at 0.20 USDC an hour each, and their CPUs, memory and disk at BESIDE."""
    node = world.node([H100] * 2)
    asks(world, node, BESIDE)
    return node


def wants(amount: str | None = None) -> dict[str, object]:
    return {"resources": TAKES} | ({"budget": {"max_price": amount}} if amount else {})


def test_a_limit_is_of_the_price_all_in_and_the_lease_freezes_it_with_its_parts(world: World) -> None:
    market(world)
    world.job(**wants("0.222999"))
    assert world.place() == 0
    job_id = world.job(**wants("0.223"))
    assert world.place() == 1
    (told,) = world.told(AttemptPlaced)
    assert (told.price_microusd_per_unit_hour, told.components) == (ALL_IN, MADE)
    (attempt,) = world.record(job_id).attempts
    assert (attempt.price_microusd_per_unit_hour, attempt.components) == (ALL_IN, MADE)
    assert world.lease(attempt.attempt_id).price_microusd_per_unit_hour == ALL_IN


def test_plan_limit_and_counterfactual_mean_the_price_all_in(world: World) -> None:
    market(world)
    spec = parse_job_spec({"run": "true", **wants()})
    plan = quotes.plan(world.session, spec, ORGANIZATION)
    assert plan.price_limit_microusd_per_unit_hour == plan.expected_price_microusd_per_unit_hour == ALL_IN
    assert (plan.offers[0].price_microusd_per_unit_hour, plan.offers[0].components) == (ALL_IN, tuple(BESIDE.values()))
    assert quotes.limits(world.session, [(spec, ORGANIZATION)]) == [quotes.Limit(Unit.GPU, 2000, ALL_IN)]
    job_id = world.job(**wants("0.2"))
    why = explaining.explain_job(world.session, ORGANIZATION, job_id, world.clock.now())
    assert "max_price 0.223 instead of 0.20" in str(why.explanation)
    (gpus,) = offers.search(world.session, OfferFilters(Unit.GPU))
    assert gpus.price_microusd_per_unit_hour == 200_000, "a search that takes nothing is told the unit's own price"


def test_a_discount_is_off_all_of_it_and_offers_tell_theirs_so(world: World) -> None:
    market(world)
    discounts.put(world.session, ORGANIZATION, 500, world.clock.now())
    job_id = world.job(**wants("0.25"))
    assert world.place() == 1
    (attempt,) = world.record(job_id).attempts
    assert attempt.price_microusd_per_unit_hour == ALL_IN * 95 // 100 == MADE.price_microusd(2000, 500)
    (gpus,) = offers.search(world.session, OfferFilters(Unit.GPU, discount_basis_points=500))
    assert gpus.components == (4_750, 950, 95)


def test_a_spot_job_bids_on_the_price_all_in(world: World) -> None:
    market(world)
    world.job(spot=True, **wants("0.111499"))
    assert world.place() == 0, "half of 0.223 is the floor"
    job_id = world.job(spot=True, **wants("0.1115"))
    assert world.place() == 1
    (attempt,) = world.record(job_id).attempts
    assert attempt.price_microusd_per_unit_hour == 111_500
    assert attempt.components is not None and attempt.components.bid_microusd_per_unit_hour == 111_500
    assert world.session.get_one(SpotAttempt, attempt.attempt_id).asked_microusd_per_unit_hour == ALL_IN


def test_what_runs_keeps_its_price_and_what_asks_nothing_more_is_written_as_before(world: World) -> None:
    node = market(world)
    one = {"resources": {"gpu": 1}}
    first = world.job(**one)
    world.place()
    frozen = world.record(first).attempts
    asks(world, node, dict.fromkeys(BESIDE, 0))
    second = world.job(**one)
    world.place()
    assert world.record(first).attempts == frozen
    (attempt,) = world.record(second).attempts
    assert (attempt.price_microusd_per_unit_hour, attempt.components) == (200_000, None)
    assert world.session.query(LeaseComponents).count() == 1


def test_what_is_not_named_stays_and_a_node_that_joins_again_asks_what_it_asked(world: World) -> None:
    node = market(world)
    asks(world, node, {"disk_microusd_per_gib_hour": 7}, price=300_000)
    world.beat(node)
    (gpus, cpus) = offers.of_node(world.session, node.id)
    assert (gpus.price_microusd_per_unit_hour, gpus.components) == (300_000, (5_000, 1_000, 7))
    assert cpus.components == ComponentPrices()
    prices.keep_listed(world.session, node, {H100, "NVIDIA A10"}, {Unit.GPU: 250_000}, world.clock.now())
    found = [one for one in offers.of_node(world.session, node.id) if one.unit is Unit.GPU]
    assert [(one.price_microusd_per_unit_hour, one.components) for one in found] == [(250_000, (5_000, 1_000, 7))] * 2


def test_a_job_of_cpus_pays_for_its_memory_by_the_cpu(world: World) -> None:
    node = world.node(cpu_price=20_000)
    asks(world, node, {"memory_microusd_per_gib_hour": 1_000}, Unit.CPU, 20_000)
    job_id = world.job(resources={"cpu": 2, "memory": "8GiB"})
    assert world.place() == 1
    assert world.record(job_id).attempts[0].price_microusd_per_unit_hour == 20_000 + 8_000 // 2


def test_cpus_are_the_units_of_their_own_offer_and_simulated_nodes_ask_nothing(world: World) -> None:
    node = world.node(cpu_price=20_000)
    with pytest.raises(InvalidInput, match="are its units"):
        asks(world, node, {"cpu_microusd_per_hour": 1}, Unit.CPU)
    with pytest.raises(InvalidInput, match="0 to 1000000"):
        asks(world, node, {"disk_microusd_per_gib_hour": 1_000_001}, Unit.CPU)
    simulated = world.node([H100], simulated=True)
    with pytest.raises(InvalidInput, match="simulated"):
        asks(world, simulated, {"disk_microusd_per_gib_hour": 1}, price=0)


def test_a_round_on_record_has_the_prices_and_comes_to_the_same_again(world: World) -> None:
    market(world)
    job_id = world.job(**wants("0.223"))
    world.job(**wants("0.222999"))
    assert world.place() == 1
    (found,) = records.recorded(world.session)
    verdict = records.replay(world.session, found.id)
    assert verdict.agrees and verdict.replayed.same_rules
    (placed, waits) = verdict.replayed.again
    assert (placed[0], placed[4], waits[1]) == (job_id, ALL_IN, False)
