"""A provider asks for CPUs, memory and disk beside its GPUs: offered, placed, billed, and proven by two verifiers."""

import json
import runpy
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from portal_world import PortalWorld, readings_of

from market.agent_api import AttemptStatus
from market.receipts import Receipt, verify_receipt

pytestmark = pytest.mark.anyio
SCRIPT = Path(__file__).parents[2] / "docs" / "verify_receipt.py"
H100 = {"uuid": "GPU-1", "index": 0, "model": "NVIDIA H100", "memory_bytes": 80 * 10**9}
BESIDE = {"cpu_microusd_per_hour": 5_000, "memory_microusd_per_gib_hour": 1_000, "disk_microusd_per_gib_hour": 100}
TAKES = {"gpu": 1, "cpu": 4, "memory": "8GiB", "disk": "50GiB"}
ALL_IN = 400_000 + 4 * 5_000 + 8 * 1_000 + 50 * 100
OFFERS = "{ offers { pricePerUnitHour { microusd } components { cpuPerHour { microusd } diskPerGibHour { usdc } } } }"


async def test_it_is_offered_planned_placed_billed_and_proven(
    world: PortalWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider_id, provider = await world.provider()
    node, customer, operator = (
        await world.node(provider_id, gpus=[H100]),
        await world.customer(),
        await world.operator(),
    )
    body = {"unit": "gpu", "price_microusd_per_unit_hour": 400_000}
    asked = await provider.put(f"/provider/v1/nodes/{node.node_id}/price", body | BESIDE)
    told = {offer["unit"]: offer["components"] for offer in asked.json()["offers"]}
    assert told["cpu"] is None and told["gpu"]["memory_per_gib_hour"] == {"usdc": "0.001", "microusd": 1_000}

    (offer,) = (await customer.get("/v1/offers?unit=gpu")).json()["items"]
    assert (offer["price_per_unit_hour"]["microusd"], offer["components"]) == (400_000, told["gpu"])
    shown = (await customer.post("/graphql", {"query": OFFERS})).json()["data"]["offers"]
    assert {"cpuPerHour": {"microusd": 5_000}, "diskPerGibHour": {"usdc": "0.0001"}} in [
        one["components"] for one in shown
    ]
    plan = (await customer.post("/v1/jobs/plan", {"spec": {"run": "true", "resources": TAKES}})).json()
    assert plan["price_limit_per_unit_hour"] == plan["expected_price_per_hour"] == {"usdc": "0.433", "microusd": ALL_IN}
    (best,) = plan["offers"]
    assert (best["price_per_unit_hour"]["microusd"], best["unit_price_per_hour"]["microusd"]) == (ALL_IN, 400_000)

    job_id, attempt_id = await world.placed(customer, resources=TAKES, budget={"max_price": "0.433"})
    await provider.put(f"/provider/v1/nodes/{node.node_id}/price", body | dict.fromkeys(BESIDE, 9))
    (desired,) = (await node.poll())["attempts"]
    await node.report(AttemptStatus(attempt_id=attempt_id, state="running"))
    world.deliver()
    world.clock.advance(timedelta(seconds=60))
    await node.report(readings=readings_of(desired["lease_id"], 50_000))
    world.consume()
    await world.exited(node, attempt_id)
    world.deliver()

    job = (await customer.get(f"/v1/jobs/{job_id}")).json()
    (attempt,), cost = job["attempts"], (await customer.get(f"/v1/jobs/{job_id}/cost")).json()
    (line,) = cost["lines"]
    assert job["cost"]["microusd"] == ALL_IN * 50 // 3600
    assert attempt["price_per_unit_hour"]["microusd"] == line["price_per_unit_hour"]["microusd"] == ALL_IN
    made = attempt["components"]
    assert line["components"] == made and (made["cpu_milli"], made["memory_bytes"]) == (4_000, 8 * 2**30)
    assert (made["unit_per_hour"]["microusd"], made["bid_per_unit_hour"]) == (400_000, None)

    assert (await operator.post("/ops/v1/epochs")).is_success
    document = (await customer.get(f"/v1/jobs/{job_id}/receipt")).json()
    receipt = Receipt.model_validate(document)
    assert verify_receipt(receipt).ok and receipt.lines[0].line.memory_microusd_per_gib_hour == 1_000
    assert verified_by_the_script(document, tmp_path, monkeypatch)
    document["lines"][0]["line"]["disk_bytes"] += 2**40
    assert not verify_receipt(Receipt.model_validate(document)).ok
    assert not verified_by_the_script(document, tmp_path, monkeypatch)
    assert (await operator.get("/ops/v1/ledger")).json()["broken"] == []


def verified_by_the_script(document: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether docs/verify_receipt.py, which shares no code with the market, comes to its end."""
    file = folder / "receipt.json"
    file.write_text(json.dumps(document))
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(file)])
    try:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    except SystemExit:
        return False
    return True


async def test_what_cannot_be_asked_is_refused(world: PortalWorld) -> None:
    provider_id, provider = await world.provider()
    node = await world.node(provider_id)
    path = f"/provider/v1/nodes/{node.node_id}/price"
    body = {"unit": "cpu", "price_microusd_per_unit_hour": 1}
    cpus = await provider.put(path, body | {"cpu_microusd_per_hour": 1})
    assert (cpus.status_code, "are its units" in cpus.json()["detail"]) == (422, True)
    dear = await provider.put(path, body | {"disk_microusd_per_gib_hour": 1_000_001})
    assert dear.json()["errors"][0]["pointer"] == "/disk_microusd_per_gib_hour"
