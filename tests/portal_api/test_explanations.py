"""Why a job waits or stands where it stands, as customers ask; rounds on record, as operators do."""

import dataclasses

import pytest
from portal_world import Caller, PortalWorld
from pydantic import BaseModel

from market.explanation_api import AskingView, ChangeView, ExplanationView, PlaceView, RemovedView, SpotView
from portal_api.graphql import explanations
from portal_api.graphql.explanations import JobExplanation
from scheduler.placement.rules import NAMED

pytestmark = pytest.mark.anyio
ASK = "query ($id: ID!) { explanation(jobId: $id) { explanation changes { words } removed { rule offers } } }"


async def explained(customer: Caller, job_id: str) -> ExplanationView:
    answer = await customer.get(f"/v1/jobs/{job_id}/explanation")
    assert answer.status_code == 200, answer.text
    return ExplanationView.model_validate(answer.json())


async def test_a_waiting_job_is_told_what_each_rule_removed_and_what_would_match(world: PortalWorld) -> None:
    await world.node()
    customer = await world.customer()
    job_id = (await customer.submit(budget={"max_price": "0.001"})).json()["job_id"]
    world.place()
    told = await explained(customer, job_id)
    assert told.matching + sum(removed.offers for removed in told.removed) == told.offers > 0
    assert [removed.words for removed in told.removed] == [NAMED[removed.rule].removes for removed in told.removed]
    (change,) = told.changes
    assert (change.parts[0].field, change.parts[0].asked) == ("max_price", "0.001")
    assert change.words in told.explanation and told.place is None
    answer = await customer.post("/graphql", {"query": ASK, "variables": {"id": job_id}})
    seen = answer.json()["data"]["explanation"]
    assert seen["explanation"] == told.explanation and seen["changes"] == [{"words": change.words}]


async def test_a_placed_job_is_told_where_it_stands_and_at_what_price(world: PortalWorld) -> None:
    node = await world.node()
    customer = await world.customer()
    job_id, _ = await world.placed(customer)
    told = await explained(customer, job_id)
    assert told.matching >= 1 and told.place is not None
    assert (told.place.node_id, told.place.attempt_number) == (node.node_id, 1)
    job = (await customer.get(f"/v1/jobs/{job_id}")).json()
    assert told.place.price_per_unit_hour.model_dump() == job["attempts"][0]["price_per_unit_hour"]


async def test_a_spot_job_is_told_what_it_bids_and_why_that_lost(world: PortalWorld) -> None:
    await world.node()
    customer = await world.customer()
    job_id = (await customer.submit(spot=True, budget={"max_price": "0.001"})).json()["job_id"]
    world.place()
    told = await explained(customer, job_id)
    assert told.spot is not None and told.spot.bid.usdc == "0.001"
    assert [removed.rule for removed in told.removed][-1] == "spot_floor"
    assert (told.spot.reclaimed, told.spot.words, told.changes[0].parts[0].field) == (0, "", "max_price")
    query = "query ($id: ID!) { explanation(jobId: $id) { spot { bid { usdc } reclaimed } } }"
    answer = await customer.post("/graphql", {"query": query, "variables": {"id": job_id}})
    assert answer.json()["data"]["explanation"]["spot"] == {"bid": {"usdc": "0.001"}, "reclaimed": 0}


@pytest.mark.parametrize(
    ("graphql", "rest"),
    [
        (JobExplanation, ExplanationView),
        (explanations.MatchingChange, ChangeView),
        (explanations.RemovedOffers, RemovedView),
        (explanations.AskingInstead, AskingView),
        (explanations.JobPlace, PlaceView),
        (explanations.SpotBid, SpotView),
    ],
)
def test_graphql_explains_with_every_field_that_rest_has(graphql: type, rest: type[BaseModel]) -> None:
    assert {field.name for field in dataclasses.fields(graphql)} == set(rest.model_fields)


async def test_an_operator_lists_rounds_and_decides_one_again(world: PortalWorld) -> None:
    await world.node()
    customer, operator = await world.customer(), await world.operator()
    await world.placed(customer)
    (newest, *_) = (await operator.get("/ops/v1/rounds")).json()["items"]
    assert newest["placed"] == 1
    answer = (await operator.get(f"/ops/v1/rounds/{newest['round_id']}/replay")).json()
    assert (answer["sound"], answer["agrees"], answer["recorded"], answer["again"]) == (True, True, [], [])
    missing = await operator.get("/ops/v1/rounds/rnd_00000000000000000000000000/replay")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
