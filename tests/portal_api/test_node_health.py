"""What an agent says of its node's health, as its provider, an operator and everybody else sees it."""

import pytest
from portal_world import PortalWorld

from scheduler.proofs import mending

pytestmark = pytest.mark.anyio
UUID = "GPU-5c9e0000"
GPU = {"uuid": UUID, "index": 0, "model": "NVIDIA H100", "memory_bytes": 85 * 10**9, "ecc": True, "nvlinks": 18}


async def test_provider_and_operator_see_what_stands_and_how_it_is_mended(world: PortalWorld) -> None:
    provider_id, provider = await world.provider()
    node = await world.node(provider_id, gpus=[GPU], driver_version="570.1", cuda_version="12.8")
    hot = {"code": "too_hot", "gpu_uuid": UUID, "detail": "91 °C"}
    assert (await node.put("/agent/v1/health", {"conditions": [hot]})).status_code == 204

    (seen,) = (await provider.get("/provider/v1/nodes")).json()["items"]
    assert (seen["cuda_version"], seen["quarantined"]) == ("12.8", False)
    assert (seen["gpus"][0]["quarantined"], seen["gpus"][0]["ecc"], seen["gpus"][0]["nvlinks"]) == (True, True, 18)
    (condition,) = seen["conditions"]
    assert (condition["gpu_uuid"], condition["quarantines"], condition["detail"]) == (UUID, True, "91 °C")
    assert "airflow" in condition["remedy"]

    operator = await world.operator()
    (listed,) = (await operator.get("/ops/v1/conditions")).json()["items"]
    assert (listed["node_id"], listed["provider_id"], listed["code"]) == (node.node_id, provider_id, "too_hot")
    (offer,) = (await (await world.customer()).get("/v1/offers", params={"unit": "gpu"})).json()["items"]
    assert (offer["total_milli"], offer["free_milli"]) == (1000, 0)

    assert (await node.put("/agent/v1/health", {"conditions": []})).status_code == 204
    (listed,) = (await operator.get("/ops/v1/conditions")).json()["items"]
    assert (listed["code"], listed["quarantines"]) == ("awaits_proof", True)
    assert "PyTorch" in listed["remedy"]
    with world.base.database.transaction() as session:
        mending.release(session, node.node_id, UUID, world.clock.now())
    assert (await operator.get("/ops/v1/conditions")).json()["items"] == []
    (offer,) = (await (await world.customer()).get("/v1/offers", params={"unit": "gpu"})).json()["items"]
    assert offer["free_milli"] == 1000


async def test_a_provider_reads_the_minutes_of_its_own_nodes(world: PortalWorld) -> None:
    provider_id, provider = await world.provider()
    node = await world.node(provider_id, gpus=[GPU])
    minute = {"gpu_uuid": UUID, "ago_seconds": 5, "samples": 60, "temperature_c": [40, 60, 80], "throttled_samples": 3}
    assert (await node.put("/agent/v1/health", {"conditions": [], "minutes": [minute]})).status_code == 204
    path = f"/provider/v1/nodes/{node.node_id}/minutes"
    (kept,) = (await provider.get(path)).json()["items"]
    assert (kept["gpu_uuid"], kept["temperature_c"], kept["busy_percent"]) == (UUID, [40, 60, 80], None)
    stranger = (await world.provider())[1]
    assert (await stranger.get(path)).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"conditions": [{"code": "never_heard_of"}]},
        {"conditions": [{"code": "too_hot", "gpu_uuid": "a b"}]},
        {"conditions": [{"code": "too_hot", "detail": "x" * 201}]},
        {"conditions": [], "minutes": [{"gpu_uuid": UUID, "ago_seconds": -1, "samples": 1}]},
        {"conditions": [], "minutes": [{"gpu_uuid": UUID, "ago_seconds": 1, "samples": 1, "busy_percent": [1, 2]}]},
        {
            "conditions": [],
            "minutes": [{"gpu_uuid": UUID, "ago_seconds": 1, "samples": 1, "busy_percent": [2**40] * 3}],
        },
    ],
)
async def test_what_is_no_health_is_refused(world: PortalWorld, body: dict[str, object]) -> None:
    node = await world.node(gpus=[GPU])
    assert (await node.put("/agent/v1/health", body)).status_code == 422
