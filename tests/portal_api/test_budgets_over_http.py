"""An owner bounds what is spent; jobs beyond it are refused or stopped with the budget's name, and events are read."""

from datetime import timedelta

import pytest
from portal_world import Node, PortalWorld

from billing.charging import alerts, renewals
from market.agent_api import AttemptStatus
from market.states import Reason
from scheduler.work import stops

pytestmark = pytest.mark.anyio
HOUR_OF_VISION = {"label": "team=vision", "period": "hour", "limit_microusd": 2_500}
VISION = {"labels": ["team=vision"], "budget": {"max_price": "0.01"}, "max_duration": "30m"}
"""A job of one CPU at 0.01 USDC an hour: 2,500 micro-USDC for a window."""


async def cheap_node(world: PortalWorld) -> Node:
    """One whose CPUs cost that."""
    provider_id, provider = await world.provider()
    node = await world.node(provider_id)
    price = {"unit": "cpu", "price_microusd_per_unit_hour": 10_000}
    assert (await provider.put(f"/provider/v1/nodes/{node.node_id}/price", price)).is_success
    return node


async def test_a_budget_is_set_used_and_removed(world: PortalWorld) -> None:
    await cheap_node(world)
    customer = await world.customer()
    kept = (await customer.put("/v1/budgets", HOUR_OF_VISION)).json()
    assert (kept["label"], kept["limit"]["usdc"], kept["left"]["microusd"]) == ("team=vision", "0.0025", 2_500)
    assert (await customer.submit(**VISION)).status_code == 201
    refused = await customer.submit(**VISION)
    assert (refused.status_code, refused.json()["code"]) == (402, "budget_spent")
    assert "the budget of 0.0025 USDC an hour for team=vision has 0.00 USDC left until" in refused.json()["detail"]
    assert (await customer.submit(budget={"max_price": "0.01"})).status_code == 201, "another label's"
    (listed,) = (await customer.get("/v1/budgets")).json()["items"]
    assert (listed["budget_id"], listed["used"]["microusd"]) == (kept["budget_id"], 2_500)
    assert (await customer.http.delete(f"/v1/budgets/{kept['budget_id']}")).status_code == 204
    assert (await customer.http.delete(f"/v1/budgets/{kept['budget_id']}")).status_code == 404
    assert (await customer.submit(**VISION)).status_code == 201


async def test_a_job_whose_budget_ends_is_stopped_with_notice_and_says_why(world: PortalWorld) -> None:
    node, customer = await cheap_node(world), await world.customer()
    await customer.put("/v1/budgets", {**HOUR_OF_VISION, "period": "month"})
    job_id, attempt_id = await world.placed(customer, **VISION)
    world.deliver()
    await node.report(AttemptStatus(attempt_id=attempt_id, state="running"))
    world.clock.advance(timedelta(seconds=world.base.settings.window_seconds - 50))
    with world.base.database.transaction() as session:
        renewals.fund_windows(session, world.clock.now())
    world.deliver()
    shown = (await customer.get(f"/v1/jobs/{job_id}")).json()
    why = "the budget of 0.0025 USDC a month for team=vision is used up until"
    assert shown["state"] in ("running", "stopping") and f"UTC: {why}" in shown["detail"]
    world.clock.advance(timedelta(seconds=49))
    with world.base.database.transaction() as session:
        assert stops.ask_due(session, world.clock.now()) == 1
    assert (await node.poll())["attempts"][0]["action"] == "stop"
    stopped = AttemptStatus(attempt_id=attempt_id, state="exited", reason=Reason.STOPPED_BUDGET_EXHAUSTED)
    await node.report(stopped)
    shown = (await customer.get(f"/v1/jobs/{job_id}")).json()
    assert (shown["state"], shown["reason"]) == ("stopped", "stopped:budget_exhausted")
    assert why in shown["detail"]


async def test_events_are_told_once_and_read_page_by_page(world: PortalWorld) -> None:
    await cheap_node(world)
    customer = await world.customer(usdc=2)
    said = await customer.put("/v1/money/watch", {"low_microusd": 1_999_999, "forecast_hours": 0})
    assert said.json() == {"low": {"usdc": "1.999999", "microusd": 1_999_999}, "forecast_hours": 0}
    assert (await customer.get("/v1/money/watch")).json() == said.json()
    await customer.put("/v1/budgets", HOUR_OF_VISION)
    assert (await customer.submit(**VISION)).status_code == 201
    for _ in range(2):
        with world.base.database.transaction() as session:
            alerts.watch(session, world.clock.now())
    first = (await customer.get("/v1/money/events", params={"limit": 1})).json()
    second = (await customer.get("/v1/money/events", params={"limit": 1, "cursor": first["next_cursor"]})).json()
    (one,), (other,) = first["items"], second["items"]
    assert {one["kind"], other["kind"]} == {"balance_low", "budget_low"}
    assert second["next_cursor"] is None and one["over_at"] is None
    stranger = await world.customer()
    assert (await stranger.get("/v1/money/events")).json()["items"] == []


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"period": "year", "limit_microusd": 1}, "/period"),
        ({"period": "hour", "limit_microusd": -1}, "/limit_microusd"),
        ({"period": "hour", "limit_microusd": 1, "label": "a b"}, "/label"),
        ({"period": "hour"}, "/limit_microusd"),
    ],
)
async def test_what_is_no_budget_is_refused_at_its_place(world: PortalWorld, body: object, pointer: str) -> None:
    customer = await world.customer()
    refused = await customer.put("/v1/budgets", body)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, pointer)
