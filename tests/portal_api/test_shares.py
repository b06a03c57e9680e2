"""What an organization is entitled to is said by operators, and placement goes by it from the next round on."""

import pytest
from portal_world import PortalWorld

from scheduler.rounds import holdings

pytestmark = pytest.mark.anyio
H100 = {"uuid": "GPU-1", "index": 0, "model": "NVIDIA H100", "memory_bytes": 80 * 10**9}


async def test_a_ceiling_that_an_operator_sets_keeps_a_job_waiting(world: PortalWorld) -> None:
    customer, operator = await world.customer(), await world.operator()
    await world.node(gpus=[H100])
    path = f"/ops/v1/organizations/{customer.organization_id}/share"
    said = await operator.put(path, {"ceiling_gpus": 0})
    assert said.json() == {
        "organization_id": customer.organization_id,
        "weight_milli": 1000,
        "quota_gpus": 0,
        "ceiling_gpus": 0,
    }
    assert (await operator.get("/ops/v1/shares")).json() == {"items": [said.json()]}
    assert (await operator.put(path, {"ceiling_gpus": 0, "quota_gpus": 3})).status_code == 200
    assert (await operator.get("/ops/v1/shares")).json() == {"items": [said.json() | {"quota_gpus": 3}]}
    gpu = (await customer.submit(resources={"gpu": 1}, budget={"max_price": "9"})).json()["job_id"]
    holdings.forget()
    world.place()
    shown = (await customer.get(f"/v1/jobs/{gpu}")).json()
    assert (shown["state"], shown["detail"]) == ("queued", "its organization holds as many GPUs as it may")
    assert (await operator.put(path, {})).status_code == 200
    assert (await operator.get("/ops/v1/shares")).json() == {"items": []}, "the usual share leaves no row"
    holdings.forget()
    world.place()
    assert (await customer.get(f"/v1/jobs/{gpu}")).json()["state"] == "placed"


async def test_a_share_of_nobody_and_one_that_cannot_be_are_refused(world: PortalWorld) -> None:
    customer, operator = await world.customer(), await world.operator()
    missing = await operator.put("/ops/v1/organizations/org_00000000000000000000000000/share", {})
    assert missing.status_code == 404
    wrong = await operator.put(f"/ops/v1/organizations/{customer.organization_id}/share", {"weight_milli": 0})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/weight_milli")
