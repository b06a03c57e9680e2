"""Agents: joining, the long poll, and reports whose signature decides."""

import asyncio
import time
from datetime import timedelta

import pytest
from portal_world import INVENTORY, Caller, PortalWorld, join_body, readings_of
from sqlalchemy import select

from infra.bus.usage import BusUnavailable
from market.agent_api import AttemptStatus
from market.canonical import canonical_json
from market.signing import REPORT_TAG, NodeKey
from portal_api.agent_polls import HEARTBEAT_SECONDS, HeartbeatPace
from portal_api.identity.tokens import TokenKind
from scheduler.supply.nodes import Heartbeat
from scheduler.tables import Node as NodeRow

pytestmark = pytest.mark.anyio


async def test_a_machine_joins_with_its_key_and_again_when_the_answer_was_lost(world: PortalWorld) -> None:
    provider_id, provider = await world.provider()
    made = (await provider.post("/provider/v1/join-tokens", {"name": "one machine"})).json()
    joiner = await world.keep(Caller(world.app, made["token"]))
    key = NodeKey.generate()
    first, second = [await joiner.post("/agent/v1/nodes", join_body(key, made["token"])) for _ in range(2)]
    assert first.status_code == second.status_code == 201
    assert first.json()["node_id"] == second.json()["node_id"] and first.json()["provider_id"] == provider_id
    assert first.json()["offers"] == ["CPU at 0.02 USDC an hour"]
    old, new = [await world.keep(Caller(world.app, answer.json()["token"])) for answer in (first, second)]
    assert (await old.put("/agent/v1/inventory", INVENTORY)).status_code == 401
    assert (await new.put("/agent/v1/inventory", INVENTORY)).status_code == 204
    other = await joiner.post("/agent/v1/nodes", join_body(NodeKey.generate(), made["token"]))
    assert other.status_code == 403 and "used up" in other.json()["detail"]
    nodes = (await provider.get("/provider/v1/nodes")).json()["items"]
    assert [node["node_id"] for node in nodes] == [first.json()["node_id"]]


async def test_a_machine_that_does_not_have_the_private_key_does_not_join(world: PortalWorld) -> None:
    provider_id, _ = await world.provider()
    token = world.token(TokenKind.JOIN, provider_id=provider_id)
    joiner = await world.keep(Caller(world.app, token))
    body = dict(join_body(NodeKey.generate(), token))
    stolen = await joiner.post("/agent/v1/nodes", {**body, "public_key": NodeKey.generate().public_hex})
    assert stolen.status_code == 403
    replayed = await joiner.post("/agent/v1/nodes", join_body(NodeKey.generate(), token + "x"))
    assert replayed.status_code == 403, "a possession is good for one join token alone"


async def test_a_waiting_poll_is_answered_by_the_commit_that_places_work(world: PortalWorld) -> None:
    node, customer = await world.node(), await world.customer()
    seen = (await node.poll())["version"]
    assert (await customer.submit()).status_code == 201
    waiting = asyncio.create_task(node.poll(seen=seen, wait=10))
    await world.watched(f"node:{node.node_id}")
    await asyncio.to_thread(world.place)
    async with asyncio.timeout(8):  # It would come back by itself after ten.
        answer = await waiting
    assert answer["version"] > seen and len(answer["attempts"]) == 1
    async with asyncio.timeout(8):
        at_once = await node.poll(seen=seen, wait=10)
    assert at_once["version"] == answer["version"], "what is newer than seen is answered at once"


async def test_what_is_new_to_a_node_comes_with_its_order_but_for_secrets_and_long_ones(world: PortalWorld) -> None:
    customer, node = await world.customer(), await world.node()
    await customer.put("/v1/secrets/API_KEY", {"value": "canary"})
    plain = (await world.placed(customer, run="echo plain", env={"A": "1"}))[1]
    known = (await world.placed(customer))[1]
    secret = (await world.placed(customer, secrets=["API_KEY"]))[1]
    long = (await world.placed(customer, env={f"A{number}": "x" * 30_000 for number in range(3)}))[1]
    unasked = {item["attempt_id"]: item["order"] for item in (await node.poll())["attempts"]}
    assert unasked == dict.fromkeys([plain, known, secret, long])
    answer = await node.poll(known=[known])
    orders = {item["attempt_id"]: item["order"] for item in answer["attempts"]}
    assert orders == {
        plain: (await node.get(f"/agent/v1/attempts/{plain}/order")).json(),
        **dict.fromkeys([known, secret, long]),
    }
    assert orders[plain]["run"] == "echo plain" and "canary" not in str(answer)


async def test_a_poll_with_no_news_ends_with_its_wait(world: PortalWorld) -> None:
    node = await world.node()
    seen = (await node.poll())["version"]
    began = time.monotonic()
    answer = await node.poll(seen=seen, wait=0.3)
    away_ms = (time.monotonic() - began) * 1000
    assert 300 <= answer["waited_ms"] <= away_ms, "leases are counted from when it was read"
    assert (answer["version"], answer["attempts"]) == (seen, [])


async def test_a_poll_is_a_heartbeat(world: PortalWorld) -> None:
    node = await world.node()

    def seen() -> NodeRow:
        with world.base.database.read() as session:
            return session.scalars(select(NodeRow).where(NodeRow.id == node.node_id)).one()

    first = seen()
    world.clock.advance(timedelta(seconds=20))
    await node.poll(pool="starting")
    assert seen().last_seen_at == first.last_seen_at + timedelta(seconds=20)
    assert seen().pool == "starting"


def test_heartbeats_are_written_every_couple_of_seconds_and_when_they_say_something_new() -> None:
    moment = [0.0]
    pace = HeartbeatPace(lambda: moment[0])
    beat = Heartbeat("node_1", "boot", "ready")
    assert pace.due(beat) == beat
    assert pace.due(beat) is None
    assert pace.due(Heartbeat("node_1", "boot", "down")) is not None
    assert pace.due(Heartbeat("node_2", "boot", "ready")) is not None
    moment[0] += HEARTBEAT_SECONDS
    assert pace.due(Heartbeat("node_1", "boot", "down")) is not None


async def test_a_forged_report_changes_nothing(world: PortalWorld) -> None:
    node, other, customer = await world.node(cpu_milli=4000), await world.node(cpu_milli=500), await world.customer()
    job_id, attempt_id = await world.placed(customer)
    status = {"attempt_id": attempt_id, "state": "exited", "exit_code": 0}
    plain = {"node_id": node.node_id, "sent_at_ms": 0, "statuses": [status], "readings": []}
    body = canonical_json(plain)
    good = node.key.sign(REPORT_TAG, body)
    forged = [
        (body, other.key.sign(REPORT_TAG, body)),
        (body, node.key.sign("gridbay/other/v1", body)),
        (body.replace(b'"exit_code":0', b'"exit_code":1'), good),
        (body, ""),
        (body, "zz" * 64),
    ]
    for sent, signature in forged:
        answer = await node.send_report(sent, signature)
        assert (answer.status_code, answer.json()["code"]) == (403, "bad_signature"), answer.text
    lent = canonical_json({**plain, "node_id": other.node_id})
    assert (await node.send_report(lent, node.key.sign(REPORT_TAG, lent))).status_code == 403
    unread = b'{"node_id": 5}'
    assert (await node.send_report(unread, node.key.sign(REPORT_TAG, unread))).status_code == 400
    foreign = await other.report(AttemptStatus(attempt_id=attempt_id, state="exited", exit_code=0))
    assert foreign.json()["accepted"] == []
    assert (await customer.get(f"/v1/jobs/{job_id}")).json()["state"] == "placed"
    assert world.bus_length() == 0
    assert (await node.send_report(body, good)).json()["accepted"] == [attempt_id]


async def test_readings_are_on_the_bus_before_the_report_is_answered(world: PortalWorld) -> None:
    node = await world.node()
    answers = await asyncio.gather(*(node.report(readings=readings_of(f"lease-{n}", 1000)) for n in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert world.bus_length() == 20
    await node.report(AttemptStatus(attempt_id="att_unknown", state="running"))
    assert world.bus_length() == 20, "a report without readings is none of billing's business"


async def test_without_the_bus_statuses_are_taken_and_readings_are_asked_for_again(
    world: PortalWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, customer = await world.node(), await world.customer()
    job_id, attempt_id = await world.placed(customer)

    def refuse(*_: object) -> None:
        raise BusUnavailable("the bus is away")

    monkeypatch.setattr(world.base.usage_bus, "publish", refuse)
    status = AttemptStatus(attempt_id=attempt_id, state="running")
    answer = await node.report(status, readings=readings_of("lease-1", 1000))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert (await customer.get(f"/v1/jobs/{job_id}")).json()["state"] == "running"


async def test_outputs_are_uploaded_by_signed_urls_and_listed_for_the_customer(world: PortalWorld) -> None:
    node, customer = await world.node(), await world.customer()
    job_id, attempt_id = await world.placed(customer)
    files = {"files": [{"path": "out/a.txt", "size_bytes": 3, "sha256": "a" * 64}]}
    path = f"/agent/v1/attempts/{attempt_id}/outputs"
    [upload] = (await node.post(path, files)).json()["uploads"]
    assert upload["path"] == "out/a.txt" and "size=3" in upload["url"]
    assert (await customer.get(f"/v1/jobs/{job_id}/outputs")).json() == []
    key = upload["url"].removeprefix("http://storage.test/").partition("?")[0]
    world.base.storage.put(key, b"abc")
    assert (await node.post(path, files)).json()["uploads"] == []
    [output] = (await customer.get(f"/v1/jobs/{job_id}/outputs")).json()
    assert (output["path"], output["size_bytes"]) == ("out/a.txt", 3) and "filename=a.txt" in output["url"]
