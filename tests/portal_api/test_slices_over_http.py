"""A slice of a card (MIG) over HTTP: declared, priced, searched, planned, explained, and ordered of its node."""

import pytest
from portal_world import PortalWorld

pytestmark = pytest.mark.anyio
CARD = "NVIDIA H100"
SLICE = f"{CARD} MIG 1g.10gb"
WHOLE = {"uuid": "GPU-1", "index": 0, "model": CARD, "memory_bytes": 80 * 10**9}
PART = {"uuid": "MIG-1", "index": 1, "model": SLICE, "memory_bytes": 10**10, "mig": True, "mig_profile": "1g.10gb"}


async def test_a_slice_is_priced_by_itself_and_found_and_given_by_its_profile(world: PortalWorld) -> None:
    provider_id, provider = await world.provider()
    node, customer = await world.node(provider_id, gpus=[WHOLE, PART]), await world.customer()
    price = {"unit": "gpu", "model": SLICE, "price_microusd_per_unit_hour": 60_000}
    asked = (await provider.put(f"/provider/v1/nodes/{node.node_id}/price", price)).json()["offers"]
    prices = {offer["model"]: offer["price_per_unit_hour"]["microusd"] for offer in asked}
    assert prices[SLICE] == 60_000 != prices[CARD]

    async def found(gpu: str) -> list[str]:
        return [offer["model"] for offer in (await customer.get("/v1/offers", params={"gpu": gpu})).json()["items"]]

    assert await found("H100") == [CARD]
    assert await found("H100:1g.10gb") == [SLICE]
    several = await customer.get("/v1/offers", params={"gpu": "1g.10gb:2"})
    assert several.status_code == 422
    assert "one slice" in several.text

    spec = {"run": "true", "resources": {"gpu": "1g.10gb"}}
    plan = (await customer.post("/v1/jobs/plan", {"spec": spec})).json()
    assert [offer["model"] for offer in plan["offers"]] == [SLICE]
    none = await customer.post("/v1/jobs/plan", {"spec": {"run": "true", "resources": {"gpu": "2g.20gb"}}})
    assert "2 with another MIG profile" in none.text

    await world.placed(customer, resources={"gpu": "1g.10gb"})
    (desired,) = (await node.poll())["attempts"]
    assert desired["gpu_uuids"] == ["MIG-1"]
