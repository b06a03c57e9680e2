"""A plan that finds nothing says what was removed and the least that would have to be asked otherwise."""

import pytest
from market_world import ORGANIZATION, World

from market.specs import parse_job_spec
from scheduler.rounds import quotes
from scheduler.supply.offers import OfferFilters, survey


def test_a_plan_under_every_price_waits_and_names_the_price_that_would_match(world: World) -> None:
    for _ in range(2):
        world.node(["NVIDIA H100"], gpu_price=420_000)
    spec = parse_job_spec({"run": "true", "resources": {"gpu": "H100"}, "budget": {"max_price": 0.4}})
    plan = quotes.plan(world.session, spec, ORGANIZATION)
    assert plan.offer_count == 0
    assert plan.explanation == (
        "no offer matches yet: of 4 offers: 2 of another unit (GPU or CPU), 2 above the price limit; "
        "would match: max_price 0.42 instead of 0.40: 2 offers; it waits for one at 0.40 USDC per GPU-hour or less"
    )


def test_a_refused_plan_and_an_empty_search_say_it_too(world: World) -> None:
    world.node(["NVIDIA H100"], gpu_price=420_000)
    spec = parse_job_spec({"run": "true", "resources": {"gpu": "B200"}})
    with pytest.raises(quotes.NoOffer, match="would match: gpu model NVIDIA H100 instead of B200: 1 offer"):
        quotes.plan(world.session, spec, ORGANIZATION)
    told = survey(world.session, OfferFilters(gpu=spec.resources.gpu)).explanation
    assert told.endswith("would match: gpu model NVIDIA H100 instead of B200: 1 offer")
