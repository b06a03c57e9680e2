"""An organization's discount is in every price that it is told, held to and charged, from its next lease on."""

import pytest
from market_world import ORGANIZATION, World

from infra.settings import Settings
from market.errors import InvalidInput
from market.messages import AttemptPlaced
from market.resources import Unit
from market.specs import parse_job_spec
from scheduler.rounds import discounts, explaining, quotes
from scheduler.supply import offers
from scheduler.supply.offers import OfferFilters

H100 = "NVIDIA H100"


def less(world: World, basis_points: int) -> None:
    discounts.put(world.session, ORGANIZATION, basis_points, world.clock.now())


def wants(amount: str) -> dict[str, object]:
    return {"resources": {"gpu": 1}, "budget": {"max_price": amount}}


def test_what_its_limit_does_not_reach_without_it_does_with_it(world: World) -> None:
    world.node([H100], gpu_price=200_000)
    job_id = world.job(**wants("0.195"))
    assert world.place() == 0
    less(world, 250)
    assert world.place() == 1
    (told,) = world.told(AttemptPlaced)
    assert (told.price_microusd_per_unit_hour, told.discount_basis_points) == (195_000, 250)
    attempt = world.newest(job_id)
    assert world.lease(attempt.id).price_microusd_per_unit_hour == attempt.price_microusd_per_unit_hour == 195_000


def test_what_runs_keeps_its_price_and_the_next_lease_has_the_newest(world: World) -> None:
    world.node([H100] * 3, gpu_price=200_000)
    less(world, 500)
    for points in (100, 0):
        world.job(**wants("9"))
        world.place()
        less(world, points)
    world.job(**wants("9"))
    world.place()
    assert [told.price_microusd_per_unit_hour for told in world.told(AttemptPlaced)] == [190_000, 198_000, 200_000]


def test_plans_and_offers_tell_the_price_that_will_be_charged(world: World) -> None:
    world.node([H100], gpu_price=200_000)
    less(world, 250)
    plan = quotes.plan(world.session, parse_job_spec({"run": "true", "resources": {"gpu": 1}}), ORGANIZATION)
    assert plan.price_limit_microusd_per_unit_hour == plan.expected_price_microusd_per_unit_hour == 195_000
    assert (plan.offers[0].price_microusd_per_unit_hour, plan.discount_basis_points) == (195_000, 250)
    (limit,) = quotes.limits(world.session, [(parse_job_spec({"run": "true", "resources": {"gpu": 1}}), ORGANIZATION)])
    assert limit == quotes.Limit(Unit.GPU, 1000, 195_000)
    found = offers.search(world.session, OfferFilters(Unit.GPU, price_max_microusd=195_000, discount_basis_points=250))
    assert [offer.price_microusd_per_unit_hour for offer in found] == [195_000]


def test_why_tells_the_limit_that_would_do_for_this_organization(world: World) -> None:
    world.node([H100], gpu_price=200_000)
    less(world, 250)
    job_id = world.job(**wants("0.19"))
    found = explaining.explain_job(world.session, ORGANIZATION, job_id, world.clock.now()).explanation
    assert "max_price 0.195 instead of 0.19" in str(found)


def test_a_spot_bid_is_what_is_paid_and_the_providers_floor_is_reached_by_what_it_earns(world: World) -> None:
    world.node([H100], gpu_price=200_000)
    less(world, 500)
    world.job(spot=True, **wants("0.094"))
    assert world.place() == 0, "half of what is asked, less the discount, is 0.095"
    world.job(spot=True, **wants("0.095"))
    assert world.place() == 1
    assert [told.price_microusd_per_unit_hour for told in world.told(AttemptPlaced)] == [95_000]


def test_it_comes_out_of_the_fee_and_is_never_above_it(world: World) -> None:
    with pytest.raises(InvalidInput, match="the platform's fee, which is 5%"):
        less(world, 501)
    less(world, 500)
    assert discounts.of(world.session, [ORGANIZATION, "org_other"]) == {ORGANIZATION: 500}
    assert discounts.of(world.session, [ORGANIZATION], Settings(fee_basis_points=300)) == {ORGANIZATION: 300}
    less(world, 0)
    assert discounts.listed(world.session) == []
