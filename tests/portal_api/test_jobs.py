"""Submitting, reading and stopping jobs through the portal."""

import asyncio
import hashlib
from datetime import timedelta

import pytest
from portal_world import SPEC, PortalWorld, readings_of
from sqlalchemy import func, select

from billing.tables.funding import HoldRow
from market.agent_api import AttemptStatus
from market.customer_api import IDEMPOTENT_REPLAY_HEADER, SubmitRequest
from market.errors import InsufficientFunds, InvalidInput
from market.receipts import Receipt, verify_receipt
from portal_api.identity.idempotency import Answered, IdempotencyKeyReused
from portal_api.pages import cursor_of
from portal_api.submissions import SubmissionBatches, submission_of
from scheduler.tables import Job

pytestmark = pytest.mark.anyio


async def test_fifty_callers_with_one_key_make_one_job_and_one_hold(world: PortalWorld) -> None:
    await world.node()
    customer = await world.customer()
    answers = await asyncio.gather(*(customer.submit(key="one") for _ in range(50)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert sum(IDEMPOTENT_REPLAY_HEADER not in answer.headers for answer in answers) == 1
    with world.base.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 1
        assert session.scalar(select(func.count()).select_from(HoldRow)) == 1


async def test_a_key_is_for_one_body_and_must_be_there(world: PortalWorld) -> None:
    await world.node()
    customer, other = await world.customer(), await world.customer()
    first = await customer.submit(key="one")
    changed = await customer.submit(key="one", run="echo other")
    assert (changed.status_code, changed.json()["code"]) == (422, "idempotency_key_reused")
    missing = await customer.post("/v1/jobs", {"spec": SPEC})
    assert (missing.status_code, missing.json()["code"]) == (400, "idempotency_key_missing")
    theirs = await other.submit(key="one")
    assert theirs.status_code == 201 and theirs.json()["job_id"] != first.json()["job_id"]


async def test_a_variable_may_be_a_number_of_any_size(world: PortalWorld) -> None:
    await world.node()
    customer = await world.customer()
    job = await customer.submit(env={"SEED": 10**40})
    assert (job.status_code, job.json()["spec"]["env"]) == (201, {"SEED": str(10**40)})


async def test_one_job_straight_through_to_a_receipt_that_anybody_can_check(world: PortalWorld) -> None:
    node, customer, operator = await world.node(), await world.customer(usdc=10), await world.operator()
    job_id, attempt_id = await world.placed(customer, env={"EPOCHS": 5}, outputs=["result.txt"])
    [desired] = (await node.poll())["attempts"]
    assert (desired["attempt_id"], desired["action"]) == (attempt_id, "run")
    order = (await node.get(f"/agent/v1/attempts/{attempt_id}/order")).json()
    assert (order["run"], order["env"], order["outputs"]) == ("echo hello", {"EPOCHS": "5"}, ["result.txt"])
    await node.report(AttemptStatus(attempt_id=attempt_id, state="running"))
    world.deliver()
    world.clock.advance(timedelta(seconds=60))
    assert await node.log(attempt_id, 0, b"hello\n") == 6
    readings = readings_of(desired["lease_id"], 50_000)
    reported = await node.report(readings=readings)
    assert reported.status_code == 200
    world.consume()
    asked = readings[0].stream_id
    assert (await node.poll(streams=[asked]))["durable_through"] == {asked: 1}, "the agent may trim its spool"
    await world.exited(node, attempt_id)
    world.deliver()

    job = (await customer.get(f"/v1/jobs/{job_id}")).json()
    assert (job["state"], job["reason"], job["exit_code"], job["billed"]) == ("succeeded", "succeeded", 0, True)
    cost = (await customer.get(f"/v1/jobs/{job_id}/cost")).json()
    [line] = cost["lines"]
    assert line["run_ms"] == 50_000
    assert line["amount"] == cost["total"] == job["cost"] and job["cost"]["microusd"] == 20_000 * 50 // 3600
    assert cost["held"]["microusd"] == 0
    early = await customer.get(f"/v1/jobs/{job_id}/receipt")
    assert early.status_code == 503 and "not closed yet" in early.json()["detail"]

    closed = (await operator.post("/ops/v1/epochs")).json()["epoch"]
    assert closed["line_count"] == 1 and closed["total"] == cost["total"]
    assert (await operator.post("/ops/v1/epochs")).json() == {"epoch": None}
    assert (await operator.get("/ops/v1/epochs/1")).json() == closed
    receipt = Receipt.model_validate((await customer.get(f"/v1/jobs/{job_id}/receipt")).json())
    assert verify_receipt(receipt).ok and receipt.total_microusd == job["cost"]["microusd"]
    assert (await operator.get("/ops/v1/ledger")).json()["broken"] == []


async def test_two_bodies_under_one_key_in_one_batch_are_told_apart(world: PortalWorld) -> None:
    await world.node()
    customer = await world.customer()
    requests = [SubmitRequest(spec={**SPEC, "run": run}) for run in ("echo a", "echo b", "echo a")]
    batch = [submission_of(customer.organization_id, "one", request) for request in requests]
    first, other, again = SubmissionBatches(world.base)(batch)
    assert isinstance(other, IdempotencyKeyReused)
    assert isinstance(first, Answered) and isinstance(again, Answered)
    assert (first.replayed, again.replayed) == (False, True) and first.body == again.body


async def test_a_plan_says_what_a_job_can_cost_and_stores_nothing(world: PortalWorld) -> None:
    await world.node()
    customer = await world.customer(usdc=0)
    plan = (await customer.post("/v1/jobs/plan", {"spec": SPEC})).json()
    assert plan["price_limit_per_unit_hour"]["usdc"] == "0.02" and plan["offer_count"] == 1
    assert plan["highest_cost"] == plan["first_hold"] == {"usdc": "0.003334", "microusd": 3334}
    poor = await customer.submit()
    assert poor.status_code == 402 and poor.json()["code"] == "insufficient_funds"
    assert "gridbay deposit" in poor.json()["remedy"]
    nothing = await customer.post("/v1/jobs/plan", {"spec": {**SPEC, "resources": {"gpu": "H100:8"}}})
    assert (nothing.status_code, nothing.json()["code"]) == (409, "no_offer")
    unknown = {"spec": {**SPEC, "secrets": ["NOT_STORED"]}}
    assert (await customer.post("/v1/jobs/plan", unknown)).json()["errors"][0]["pointer"] == "/spec/secrets/0"
    stingy = {"spec": {**SPEC, "budget": {"max_total": "0"}}}
    for path in ("/v1/jobs/plan", "/v1/jobs"):
        refused = await customer.post(path, stingy, key="stingy")
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/spec/budget/max_total")
    with world.base.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 0


async def test_one_refused_submission_does_not_touch_the_others_of_its_batch(world: PortalWorld) -> None:
    await world.node()
    rich, poor = await world.customer(), await world.customer(usdc=0)
    answers = await asyncio.gather(
        *(rich.submit() for _ in range(10)),
        poor.submit(),
        rich.submit(secrets=["NOT_STORED"]),
        rich.submit(resources={"gpu": "H100"}),
    )
    assert [answer.status_code for answer in answers] == [201] * 10 + [402, 422, 409]
    assert answers[11].json()["errors"][0]["pointer"] == "/spec/secrets/0"
    assert len((await rich.get("/v1/jobs")).json()["items"]) == 10


async def test_what_is_refused_is_refused_within_its_batch(world: PortalWorld) -> None:
    await world.node()
    rich, poor = await world.customer(), await world.customer(usdc=0)
    specs = [(rich, SPEC), (poor, SPEC), (rich, {**SPEC, "budget": {"max_total": "0.000001"}}), (rich, SPEC)]
    batch = [
        submission_of(customer.organization_id, f"key-{number}", SubmitRequest(spec=spec))
        for number, (customer, spec) in enumerate(specs)
    ]
    outcomes = SubmissionBatches(world.base)(batch)
    assert [type(outcome) for outcome in outcomes] == [Answered, InsufficientFunds, InvalidInput, Answered]


async def test_the_pages_of_a_list_are_the_list(world: PortalWorld) -> None:
    await world.node()
    customer = await world.customer()
    made = [(await customer.submit()).json()["job_id"] for _ in range(7)]
    found, cursor = [], None
    while True:
        page = (await customer.get("/v1/jobs", params={"limit": 3, **({"cursor": cursor} if cursor else {})})).json()
        assert len(page["items"]) <= 3
        found += [item["job_id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == sorted(made, reverse=True)
    for bad in ("x", "e30", "W10", "bnVsbA", cursor_of((world.clock.now(), "\0"))):
        assert (await customer.get("/v1/jobs", params={"cursor": bad})).status_code == 422, bad


async def test_stopping_a_queued_job_gives_its_money_back(world: PortalWorld) -> None:
    customer = await world.customer(usdc=10)
    job_id = (await customer.submit(budget={"max_price": "1"})).json()["job_id"]
    assert (await customer.get("/v1/balance")).json()["held"]["microusd"] > 0
    for _ in range(2):
        stopped = await customer.post(f"/v1/jobs/{job_id}/stop")
        assert (stopped.status_code, stopped.json()["reason"]) == (200, "stopped:by_user")
    world.deliver()
    assert (await customer.get(f"/v1/jobs/{job_id}")).json()["billed"]
    balance = (await customer.get("/v1/balance")).json()
    assert (balance["available"]["usdc"], balance["held"]["usdc"]) == ("10.00", "0.00")


async def test_a_working_directory_is_sent_before_it_is_used(world: PortalWorld) -> None:
    node, customer = await world.node(), await world.customer()
    archive = b"an archive"
    sha256 = hashlib.sha256(archive).hexdigest()
    body = {"spec": {**SPEC, "workdir": "."}, "workdir_sha256": sha256}
    unsent = await customer.post("/v1/jobs", body, key="w")
    assert unsent.status_code == 404
    answer = (await customer.post("/v1/workdirs", {"sha256": sha256, "size_bytes": len(archive)})).json()
    assert answer["upload_url"].startswith(f"http://storage.test/workdirs/{customer.organization_id}/{sha256}?")
    assert (await customer.post("/v1/jobs", body, key="w")).status_code == 422
    world.base.storage.put(f"workdirs/{customer.organization_id}/{sha256}", archive)
    again = (await customer.post("/v1/workdirs", {"sha256": sha256, "size_bytes": len(archive)})).json()
    assert again["upload_url"] is None
    job_id = (await customer.post("/v1/jobs", body, key="w")).json()["job_id"]
    world.place()
    attempt_id = (await customer.get(f"/v1/jobs/{job_id}")).json()["attempts"][0]["attempt_id"]
    order = (await node.get(f"/agent/v1/attempts/{attempt_id}/order")).json()
    assert order["workdir_sha256"] == sha256 and "signature=" in order["workdir_url"]


async def test_a_deposit_is_requested_once(world: PortalWorld) -> None:
    customer = await world.customer(usdc=0)
    first, second = [await customer.post("/v1/deposits", {"amount_microusd": 5_000_000}, key="d") for _ in range(2)]
    assert first.status_code == second.status_code == 201 and first.text == second.text
    assert first.json()["solana_pay_url"].startswith("solana:")
    assert second.headers[IDEMPOTENT_REPLAY_HEADER] == "true"
    other = await customer.post("/v1/deposits", {"amount_microusd": 6_000_000}, key="d")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    seen = await customer.get(first.headers["Location"])
    assert seen.json()["state"] == "waiting"
