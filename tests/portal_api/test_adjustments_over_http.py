"""An operator corrects a charge; customer and provider read it, and the same key does it once."""

from datetime import timedelta
from typing import Any

import pytest
from portal_world import Customer, Node, PortalWorld, readings_of

from market.agent_api import AttemptStatus
from market.receipts import Receipt, verify_receipt

pytestmark = pytest.mark.anyio


async def test_a_correction_is_made_once_and_seen_by_everybody(world: PortalWorld) -> None:
    provider_id, provider = await world.provider()
    node, customer, operator = await world.node(provider_id), await world.customer(), await world.operator()
    job_id, line = await billed(world, node, customer)
    total = line["amount"]["microusd"]
    body = {"line_id": line["line_id"], "amount_microusd": 100, "reason": "a full disk"}
    made = await operator.post("/ops/v1/adjustments", body, key="ticket-1")
    assert made.status_code == 201, made.text
    assert (await operator.post("/ops/v1/adjustments", body, key="ticket-1")).json() == made.json()
    reused = await operator.post("/ops/v1/adjustments", body | {"amount_microusd": 1}, key="ticket-1")
    assert (reused.status_code, reused.json()["code"]) == (422, "idempotency_key_reused")
    assert (await operator.post("/ops/v1/adjustments", body)).json()["code"] == "idempotency_key_missing"
    too_much = await operator.post("/ops/v1/adjustments", body | {"amount_microusd": total}, key="ticket-2")
    assert (too_much.status_code, too_much.json()["code"]) == (409, "conflict")
    (listed,) = (await operator.get("/ops/v1/adjustments")).json()["items"]
    assert listed == made.json() and listed["amount"]["microusd"] == 100 and listed["cause"] == "operator"

    cost = (await customer.get(f"/v1/jobs/{job_id}/cost")).json()
    assert (cost["total"]["microusd"], cost["credited"]["microusd"]) == (total, 100)
    assert [item["reason"] for item in cost["adjustments"]] == ["a full disk"]
    assert (await customer.get(f"/v1/jobs/{job_id}")).json()["credited"]["microusd"] == 100
    earned = (await provider.get("/provider/v1/earnings")).json()
    assert earned["reversed"]["microusd"] == listed["provider_share"]["microusd"] > 0 == earned["owed"]["microusd"]
    assert (await operator.post("/ops/v1/epochs")).is_success
    receipt = Receipt.model_validate((await customer.get(f"/v1/jobs/{job_id}/receipt")).json())
    assert receipt.credited_microusd == 100 and verify_receipt(receipt).ok
    assert (await operator.get("/ops/v1/ledger")).json()["broken"] == []


async def billed(world: PortalWorld, node: Node, customer: Customer) -> tuple[str, dict[str, Any]]:
    """A job that ran for 50 seconds, and its line."""
    job_id, attempt_id = await world.placed(customer)
    (desired,) = (await node.poll())["attempts"]
    await node.report(AttemptStatus(attempt_id=attempt_id, state="running"))
    world.deliver()
    world.clock.advance(timedelta(seconds=60))
    await node.report(readings=readings_of(desired["lease_id"], 50_000))
    world.consume()
    await world.exited(node, attempt_id)
    world.deliver()
    (line,) = (await customer.get(f"/v1/jobs/{job_id}/cost")).json()["lines"]
    return job_id, line
