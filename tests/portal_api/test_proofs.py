"""A proof over HTTP, with the agent's own part of it and its real child process; what owners and operators see."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from portal_world import Node, PortalWorld
from pydantic import BaseModel

from market.clock import ManualClock
from market.errors import Unavailable
from market.measured import Measure
from market.proof_api import ProofAnswer, ProofNetwork, ProofsAnswer
from market.resources import Unit
from portal_api.job_views import offer_view
from provider_agent.proving.proving import Proving
from scheduler.proofs import planning, verifying
from scheduler.supply.offers import OfferRecord

pytestmark = pytest.mark.anyio


class Conversation:
    """The agent's conversation over the tests' client; computing takes a second of the tests' time."""

    def __init__(self, node: Node, clock: ManualClock) -> None:
        self._node, self._clock = node, clock
        self.probe: ProofNetwork | None = None

    async def proofs(self) -> ProofsAnswer:
        return ProofsAnswer.model_validate((await self._node.get("/agent/v1/proofs")).json())

    async def proof_turn(self, answer: Any, challenge_id: str, turn: str, request: BaseModel | None = None) -> Any:
        body = request.model_dump() if request is not None else None
        self._clock.advance(timedelta(seconds=1))
        told = await self._node.post(f"/agent/v1/proofs/{challenge_id}/{turn}", body)
        assert told.status_code == 200, told.text
        if turn == "network":
            self.probe = ProofNetwork.model_validate(told.json())
            raise Unavailable("no storage runs beside this test")
        return answer.model_validate(told.json())

    async def answer_proof(self, challenge_id: str, request: ProofAnswer) -> None:
        told = await self._node.post(f"/agent/v1/proofs/{challenge_id}/answer", request.model_dump())
        assert told.status_code == 204, told.text


def _plan(world: PortalWorld) -> int:
    with world.base.database.transaction() as session:
        planning.plan(session, world.clock.now())
    world.clock.advance(planning.SETTLE + timedelta(seconds=1))
    with world.base.database.transaction() as session:
        return planning.plan(session, world.clock.now())


async def test_an_agent_proves_its_node_and_everybody_sees_it(world: PortalWorld, tmp_path: Path) -> None:
    provider_id, provider = await world.provider()
    node, operator = await world.node(provider_id), await world.operator()
    assert _plan(world) == 1
    conversation = Conversation(node, world.clock)
    agent = Proving(conversation, frozenset, [None], tmp_path)
    await agent.ask()
    await agent.settled()
    assert conversation.probe is not None
    assert conversation.probe.upload_url.startswith(f"http://storage.test/probes/{node.node_id}?")
    judged = verifying.run(world.base.database, world.clock, shadow=(), cpu_seconds_max=10)
    assert judged == 1
    [seen] = (await provider.get("/provider/v1/proofs")).json()["items"]
    assert (seen["device"], seen["state"], seen["engine"], seen["outcome"]) == ("cpu", "verified", "numpy", "passed")
    told = [(figure["kind"], figure["by_market"]) for figure in seen["measured"]]
    assert told == [("disk_read_bytes_per_second", False), ("disk_write_bytes_per_second", False)]
    told = (await operator.get("/ops/v1/proofs")).json()
    assert (told["judged"], told["missed"], told["items"]) == ({"passed": 1}, 0, [])
    assert told["verifier_cpu_ms"] >= 0
    customer = await world.customer()
    search = {"verified": "true", "at_least": "disk_write=1kB", "sort": "work"}
    [offer] = (await customer.get("/v1/offers", params=search)).json()["items"]
    assert offer["verified"] and offer["measured"]["disk_write_bytes_per_second"] > 0
    assert offer["work_price"] is None, "nobody measured the rate of these processors"
    assert (await customer.get("/v1/offers", params={"at_least": "network_up=1"})).json()["items"] == []
    query = '{ offers(where: {atLeast: ["disk_write=1kB"], sort: WORK}) { measured { kind value } } }'
    told = (await customer.post("/graphql", {"query": query})).json()["data"]["offers"]
    assert {"kind": "disk_write_bytes_per_second", "value": offer["measured"]["disk_write_bytes_per_second"]} in told[
        0
    ]["measured"]
    assert (await agent_asks_again(agent, node)) == []


async def agent_asks_again(agent: Proving, node: Node) -> list[Any]:
    await agent.ask()
    await agent.settled()
    waiting: list[Any] = (await node.get("/agent/v1/proofs")).json()["proofs"]
    return waiting


def test_work_has_a_price_where_its_rate_was_measured() -> None:
    """An H100 at 2 USDC an hour and 10¹⁵ operations a second does 3.6 · 10¹⁸ in that hour."""
    offer = OfferRecord(
        offer_id="off_1", node_id="node_1", node_name="amber", provider_id="prv_1", unit=Unit.GPU, model="H100",
        memory_bytes=1, total_milli=1000, free_milli=1000, cpu_free_milli=1, memory_free_bytes=1,
        price_microusd_per_unit_hour=2_000_000, unit_price_microusd_per_hour=2_000_000, simulated=False, verified=True,
        measured={Measure.MATRIX.kind: 10**15},
    )  # fmt: skip
    view = offer_view(offer, 0)
    assert view.work_price is not None and view.work_price.microusd == 555_556
    assert offer_view(replace(offer, measured={}), 0).work_price is None


async def test_a_proof_of_a_leased_device_is_given_up(world: PortalWorld, tmp_path: Path) -> None:
    node = await world.node()
    assert _plan(world) == 1
    agent = Proving(Conversation(node, world.clock), lambda: frozenset({"cpu"}), [None], tmp_path)
    await agent.ask()
    await agent.settled()
    assert verifying.run(world.base.database, world.clock, shadow=(), cpu_seconds_max=10) == 0
    assert [item["device"] for item in (await node.get("/agent/v1/proofs")).json()["proofs"]] == ["cpu"]


async def test_a_device_without_an_engine_says_so_and_harms_nobody(world: PortalWorld, tmp_path: Path) -> None:
    node = await world.node()
    assert _plan(world) == 1
    agent = Proving(Conversation(node, world.clock), frozenset, [tmp_path / "no-python-here"], tmp_path)
    await agent.ask()
    await agent.settled()
    assert len((await node.get("/agent/v1/proofs")).json()["proofs"]) == 1


async def test_turns_out_of_order_are_refused_with_a_code(world: PortalWorld) -> None:
    node = await world.node()
    assert _plan(world) == 1
    [waiting] = (await node.get("/agent/v1/proofs")).json()["proofs"]
    path = f"/agent/v1/proofs/{waiting['challenge_id']}"
    early = await node.post(f"{path}/commit", {"roots": ["ab" * 32]})
    assert (early.status_code, early.json()["code"]) == (409, "proof_out_of_turn")
    assert (await node.post(f"{path}/begin")).json()["nonce"]
    for wrong in ({"roots": []}, {"roots": ["ab"]}, {"roots": ["ab" * 32], "seconds": 0.001}):
        assert (await node.post(f"{path}/commit", wrong)).status_code == 422, "nobody asks the agent's clock"


async def test_a_ban_is_appealed_by_its_owner_and_lifted_by_an_operator(world: PortalWorld) -> None:
    provider_id, provider = await world.provider()
    _, stranger = await world.provider()
    node, operator = await world.node(provider_id), await world.operator()
    world.challenged(node.node_id, provider_id)
    [trouble] = (await operator.get("/ops/v1/proofs")).json()["items"]
    assert (trouble["node_id"], trouble["state"]) == (node.node_id, "banned")
    path = f"/provider/v1/nodes/{node.node_id}/devices/cpu/appeal"
    assert (await stranger.post(path)).status_code == 404
    assert (await provider.post(path)).status_code == 204
    again = await provider.post(path)
    assert again.status_code == 409 and "within the last day" in again.json()["detail"]
    lifted = await operator.post(f"/ops/v1/nodes/{node.node_id}/devices/cpu/lift")
    assert lifted.status_code == 204
    [seen] = (await provider.get("/provider/v1/proofs")).json()["items"]
    assert seen["state"] == "unproven"


async def test_an_owner_declares_what_its_circuit_carries(world: PortalWorld) -> None:
    _, provider = await world.provider()
    assert (await provider.put("/provider/v1/circuit", {"circuit_watts": 3600})).json() == {"circuit_watts": 3600}
    assert (await provider.put("/provider/v1/circuit", {"circuit_watts": 1})).status_code == 422
    assert (await provider.put("/provider/v1/circuit", {"circuit_watts": None})).status_code == 200
