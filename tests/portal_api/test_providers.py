"""What providers see and set: their nodes, prices, wallet and earnings."""

from datetime import timedelta

import pytest
from portal_world import PortalWorld, readings_of
from solders.keypair import Keypair

from billing.tables.settlement import PayoutWalletRow
from market.agent_api import AttemptStatus

pytestmark = pytest.mark.anyio


async def test_a_new_price_is_asked_of_the_next_job_and_not_of_the_one_that_runs(world: PortalWorld) -> None:
    provider_id, provider = await world.provider()
    node, customer = await world.node(provider_id), await world.customer()
    job_id, _ = await world.placed(customer)
    path = f"/provider/v1/nodes/{node.node_id}/price"
    changed = await provider.put(path, {"unit": "cpu", "price_microusd_per_unit_hour": 50_000})
    assert [offer["price_per_unit_hour"]["usdc"] for offer in changed.json()["offers"]] == ["0.05"]
    [offer] = (await customer.get("/v1/offers", params={"unit": "cpu"})).json()["items"]
    assert offer["price_per_unit_hour"]["microusd"] == 50_000
    assert (await customer.get("/v1/offers", params={"max_price": "0.02"})).json()["items"] == []
    assert (await customer.get("/v1/offers", params={"max_price": "cheap"})).status_code == 422
    running = (await customer.get(f"/v1/jobs/{job_id}")).json()["attempts"][0]
    assert running["price_per_unit_hour"]["microusd"] == 20_000
    gpus = await provider.put(path, {"unit": "gpu", "price_microusd_per_unit_hour": 1})
    assert gpus.status_code == 404
    listed = (await provider.get("/provider/v1/nodes")).json()["items"]
    assert [(item["node_id"], item["state"], item["pool"]) for item in listed] == [(node.node_id, "online", "ready")]


async def test_a_wallet_is_a_solana_address_and_billing_hears_of_it(world: PortalWorld) -> None:
    provider_id, provider = await world.provider()
    bad = await provider.put("/provider/v1/wallet", {"wallet_address": "not-an-address"})
    assert (bad.status_code, bad.json()["errors"][0]["pointer"]) == (422, "/wallet_address")
    address = str(Keypair().pubkey())
    answer = await provider.put("/provider/v1/wallet", {"wallet_address": address})
    assert answer.json() == {"provider_id": provider_id, "wallet_address": address}
    world.deliver()
    with world.base.database.read() as session:
        assert session.get_one(PayoutWalletRow, provider_id).address == address
    assert (await provider.get("/provider/v1/earnings")).json()["wallet_address"] == address


async def test_earnings_are_the_providers_share_of_what_was_captured(world: PortalWorld) -> None:
    provider_id, provider = await world.provider()
    node, customer = await world.node(provider_id), await world.customer()
    _, attempt_id = await world.placed(customer)
    lease_id = (await node.poll())["attempts"][0]["lease_id"]
    world.deliver()
    await node.report(AttemptStatus(attempt_id=attempt_id, state="running"))
    world.clock.advance(timedelta(seconds=400))
    await node.report(readings=readings_of(lease_id, 360_000))
    world.consume()
    await world.exited(node, attempt_id)
    world.deliver()
    earned = (await provider.get("/provider/v1/earnings")).json()
    assert earned["payable"]["microusd"] == 2_000 * 95 // 100
    assert earned["paying"]["microusd"] == earned["paid"]["microusd"] == 0
    stranger = (await world.provider())[1]
    assert (await stranger.get("/provider/v1/earnings")).json()["payable"]["microusd"] == 0
