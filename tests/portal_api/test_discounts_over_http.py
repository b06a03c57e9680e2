"""A discount is said by operators; its organization sees it in offers, plans and bills, and nobody else does."""

import pytest
from portal_world import PortalWorld

pytestmark = pytest.mark.anyio
H100 = {"uuid": "GPU-1", "index": 0, "model": "NVIDIA H100", "memory_bytes": 80 * 10**9}
SPEC = {"run": "true", "resources": {"gpu": 1}}


async def test_an_organization_is_told_its_own_prices(world: PortalWorld) -> None:
    customer, other, operator = await world.customer(), await world.customer(), await world.operator()
    await world.node(gpus=[H100])
    path = f"/ops/v1/organizations/{customer.organization_id}/discount"
    said = await operator.put(path, {"discount_basis_points": 250})
    assert said.json() == {"organization_id": customer.organization_id, "discount_basis_points": 250}
    assert (await operator.get("/ops/v1/discounts")).json() == {"items": [said.json()]}
    prices = []
    for whose in (customer, other):
        (offer,) = (await whose.get("/v1/offers?unit=gpu")).json()["items"]
        plan = (await whose.post("/v1/jobs/plan", {"spec": SPEC})).json()
        assert plan["expected_price_per_hour"] == plan["price_limit_per_unit_hour"] == offer["price_per_unit_hour"]
        assert plan["discount_basis_points"] == offer["discount_basis_points"]
        prices.append((offer["price_per_unit_hour"]["microusd"], offer["discount_basis_points"]))
    assert prices == [(390_000, 250), (400_000, 0)]
    assert (await operator.put(path, {"discount_basis_points": 0})).status_code == 200
    assert (await operator.get("/ops/v1/discounts")).json() == {"items": []}


async def test_more_than_the_fee_and_organizations_that_are_not_there_are_refused(world: PortalWorld) -> None:
    customer, operator = await world.customer(), await world.operator()
    path = f"/ops/v1/organizations/{customer.organization_id}/discount"
    refused = await operator.put(path, {"discount_basis_points": 501})
    assert refused.status_code == 422 and "the platform's fee, which is 5%" in refused.json()["detail"]
    missing = await operator.put("/ops/v1/organizations/org_x/discount", {"discount_basis_points": 1})
    assert missing.status_code == 404
