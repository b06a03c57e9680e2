"""GraphQL: the same services as REST, its own refusals, and documents that cannot cost more than their bounds."""

import dataclasses
from typing import Any

import httpx
import pytest
from graphql import get_introspection_query
from portal_world import SPEC, Customer, PortalWorld
from pydantic import BaseModel
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from structlog.testing import capture_logs

from infra.ground import Ground
from market.customer_api import AttemptView, ComponentPricesView, ComponentsView, JobView, OfferView
from portal_api.app import create_app
from portal_api.graphql import types
from portal_api.graphql.bounds import ALIASES_MAX, DEPTH_MAX, FIELDS_MAX, TOKENS_MAX
from portal_api.identity.tokens import Role
from portal_api.threads import DatabaseThreads
from scheduler.work import jobs

pytestmark = pytest.mark.anyio
SUBMIT = """mutation ($input: SubmitJobInput!) {
  submitJob(input: $input) { replayed job { jobId state reason unit held { usdc microusd } spec } }
}"""
JOB = "query ($id: ID!) { job(jobId: $id) { jobId state cost { usdc } attempts { number state nodeName } } }"


async def _ask(customer: Customer, query: str, **variables: Any) -> httpx.Response:
    return await customer.post("/graphql", {"query": query, "variables": variables})


async def _data(customer: Customer, query: str, **variables: Any) -> dict[str, Any]:
    answer = await _ask(customer, query, **variables)
    assert answer.status_code == 200 and "errors" not in answer.json(), answer.text
    return dict(answer.json()["data"])


async def _error(customer: Customer, query: str, **variables: Any) -> dict[str, Any]:
    answer = await _ask(customer, query, **variables)
    assert answer.status_code == 200, answer.text
    [error] = answer.json()["errors"]
    return dict(error)


async def test_what_rest_does_graphql_does(world: PortalWorld) -> None:
    await world.node()
    customer = await world.customer()
    [offer] = (await _data(customer, "{ offers { model unit pricePerUnitHour { usdc } memoryBytes } }"))["offers"]
    assert offer["model"] == "CPU" and offer["unit"] == "CPU" and offer["memoryBytes"] > 2**32
    assert (await _data(customer, '{ offers(where: {gpu: "H100"}) { model } }'))["offers"] == []
    given = {"spec": SPEC, "idempotencyKey": "one"}
    first, again = [(await _data(customer, SUBMIT, input=given))["submitJob"] for _ in range(2)]
    assert (first["replayed"], again["replayed"]) == (False, True) and first["job"] == again["job"]
    job_id = first["job"]["jobId"]
    world.place()
    shown = (await _data(customer, JOB, id=job_id))["job"]
    assert shown["state"] == "PLACED" and shown["attempts"] == [{"number": 1, "state": "PLACED", "nodeName": "node"}]
    rest = (await customer.get(f"/v1/jobs/{job_id}")).json()
    assert rest["state"] == "placed"
    stop = "mutation ($id: ID!) { stopJob(jobId: $id) { job { state reason } } }"
    assert (await _data(customer, stop, id=job_id))["stopJob"]["job"]["reason"] == "stopping:by_user"


@pytest.mark.parametrize(
    ("graphql", "rest"),
    [
        (types.Job, JobView),
        (types.Attempt, AttemptView),
        (types.Offer, OfferView),
        (types.Components, ComponentsView),
        (types.ComponentPrices, ComponentPricesView),
    ],
)
async def test_graphql_has_every_field_that_rest_has(graphql: type, rest: type[BaseModel]) -> None:
    assert {field.name for field in dataclasses.fields(graphql)} == set(rest.model_fields)


async def test_the_connection_of_jobs_is_walked_by_its_cursors(world: PortalWorld) -> None:
    await world.node()
    customer = await world.customer()
    made = [(await customer.submit()).json()["job_id"] for _ in range(5)]
    query = """query ($after: String) { jobs(first: 2, after: $after) {
      edges { cursor node { jobId } } pageInfo { hasNextPage hasPreviousPage endCursor } } }"""
    found, after = [], None
    while True:
        jobs = (await _data(customer, query, after=after))["jobs"]
        found += [edge["node"]["jobId"] for edge in jobs["edges"]]
        assert jobs["pageInfo"]["endCursor"] == jobs["edges"][-1]["cursor"]
        after = jobs["pageInfo"]["endCursor"]
        if not jobs["pageInfo"]["hasNextPage"]:
            break
    assert found == sorted(made, reverse=True)


async def test_refusals_carry_their_codes(world: PortalWorld) -> None:
    await world.node()
    poor, stranger, rich = await world.customer(usdc=0), await world.customer(), await world.customer()
    error = await _error(poor, SUBMIT, input={"spec": SPEC, "idempotencyKey": "k"})
    assert error["extensions"]["code"] == "insufficient_funds" and error["extensions"]["status"] == 402
    assert "gridbay deposit" in error["extensions"]["remedy"]
    error = await _error(rich, SUBMIT, input={"spec": {**SPEC, "immage": "x"}, "idempotencyKey": "k"})
    assert error["extensions"]["errors"][0]["pointer"] == "/spec/immage"
    job_id = (await rich.submit()).json()["job_id"]
    foreign, missing = [await _error(stranger, JOB, id=name) for name in (job_id, "job_" + "0" * 26)]
    assert foreign["extensions"].pop("request_id") != missing["extensions"].pop("request_id")
    assert foreign == missing and foreign["extensions"]["code"] == "not_found"
    viewer = await world.member(rich, Role.VIEWER)
    error = await _error(viewer, SUBMIT, input={"spec": SPEC, "idempotencyKey": "v"})
    assert error["extensions"]["code"] == "forbidden"


async def test_who_has_no_good_credential_is_refused_before_anything_is_read(world: PortalWorld) -> None:
    for caller in (await world.anonymous(), await world.operator(), (await world.provider())[1]):
        answer = await caller.post("/graphql", {"query": "{ __typename }"})
        assert answer.status_code in (401, 403)
        assert answer.headers["content-type"] == "application/problem+json"


NO_REQUESTS = (
    "5",
    '"x"',
    "{",
    "[" * 5000,
    "[]",
    '[{"query": "{ __typename }"}]',
    "{}",
    '{"query": 5}',
    '{"query": "{ __typename }", "variables": []}',
    '{"query": "query A { __typename }", "operationName": "B"}',
    '{"query": "subscription { jobChanged(jobId: 1) { jobId } }"}',
)


async def test_a_request_that_is_none_is_a_problem(world: PortalWorld) -> None:
    customer = await world.customer()
    for body in NO_REQUESTS:
        answer = await customer.http.post("/graphql", content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json().get("code")) == (400, "malformed_body"), (body[:60], answer.text)
    assert (await customer.get("/graphql", params={"query": "{ __typename }"})).status_code in (400, 405)
    form = await customer.http.post("/graphql", data={"query": "{ __typename }"})
    assert (form.status_code, form.json()["code"]) == (415, "unsupported_media_type")


def _fragments(count: int) -> str:
    """A bomb: every fragment names the next one twice."""
    chain = " ".join(f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }}" for n in range(count))
    return f"{{ ...F0 }} {chain} fragment F{count} on Query {{ __typename }}"


# Each with what the refusal says, which shows that it is the bound meant here that refused it.
LARGE = {
    "aliases": ("{" + " ".join(f"a{n}: __typename" for n in range(ALIASES_MAX + 1)) + "}", "16 aliases"),
    "depth": ("{ jobs " * (DEPTH_MAX + 1) + "}" * (DEPTH_MAX + 1), "9 levels deep"),
    "tokens": ("{ job(jobId: [" + "1 " * TOKENS_MAX + "]) { jobId } }", "more than 1000 tokens"),
    "fields": ("{ ...A ...A } fragment A on Query {" + " __typename" * (FIELDS_MAX // 2 + 1) + "}", "502 fields"),
    "fragments": (_fragments(90), "far more fields"),
    "characters": ('{ job(jobId: "' + "x" * 30_000 + '") { jobId } }', "at most 20000 characters"),
    "nesting": ("{ a" * 400, "Syntax Error"),
    "directives": ("{ __typename " + "@skip(if: true) " * 100 + "}", "'@skip' can only be used once"),
    "cycle": ("{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }", "Cannot spread fragment"),
}


@pytest.mark.parametrize("attack", LARGE)
async def test_a_document_costs_no_more_than_its_bounds(world: PortalWorld, attack: str) -> None:
    customer = await world.customer()
    await _data(customer, "{ __typename }")
    query, said = LARGE[attack]
    with capture_logs() as logged:
        answer = await _ask(customer, query)
    assert answer.status_code == 200, answer.text
    assert any(said in error["message"] for error in answer.json()["errors"]), answer.text
    assert len(answer.content) < 4096 and sum(len(str(entry)) for entry in logged) < 4096


async def test_the_bounds_leave_room_for_what_people_ask(world: PortalWorld) -> None:
    customer = await world.customer()
    assert (await _data(customer, get_introspection_query()))["__schema"]["queryType"]["name"] == "Query"
    deep = "{ jobs { edges { node { attempts { pricePerUnitHour { usdc } } } } } }"
    assert deep.count("{") == 6 < DEPTH_MAX < FIELDS_MAX
    assert (await _data(customer, deep))["jobs"]["edges"] == []


async def test_a_fault_of_ours_is_masked_and_logged(world: PortalWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    customer = await world.customer()

    async def broken(*_: object) -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr(DatabaseThreads, "read", broken)
    with capture_logs() as logged:
        error = await _error(customer, "{ offers { model } }")
    assert error["extensions"]["code"] == "internal" and "hunter2" not in str(error)
    [fault] = [entry for entry in logged if entry["event"] == "graphql_failed"]
    assert str(fault["exc_info"]) == "the password is hunter2"


def test_a_subscription_follows_a_job_for_who_may_see_it(base: Ground) -> None:
    app = create_app(base)
    world = PortalWorld(app, base)
    organization_id, token = world.organization()
    with TestClient(app, headers={"Authorization": f"Bearer {token}"}) as client:
        spec = {**SPEC, "budget": {"max_price": "1"}}
        job_id = client.post("/v1/jobs", json={"spec": spec}, headers={"Idempotency-Key": "s"}).json()["job_id"]
        query = f'subscription {{ jobChanged(jobId: "{job_id}") {{ state billed }} }}'
        client.headers.pop("Authorization")
        with client.websocket_connect("/graphql", subprotocols=["graphql-transport-ws"]) as socket:
            socket.send_json({"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}})
            assert socket.receive_json()["type"] == "connection_ack"
            socket.send_json({"type": "subscribe", "id": "1", "payload": {"query": query}})
            assert socket.receive_json()["payload"]["data"]["jobChanged"] == {"state": "QUEUED", "billed": False}
            with base.database.transaction() as session:
                jobs.request_stop(session, organization_id, job_id, world.clock.now())
            world.deliver()
            seen = []
            while (message := socket.receive_json())["type"] == "next":
                seen.append(message["payload"]["data"]["jobChanged"])
            assert seen[-1] == {"state": "STOPPED", "billed": True} and message["type"] == "complete"
        strange = world.organization()[1]
        with client.websocket_connect("/graphql", subprotocols=["graphql-transport-ws"]) as socket:
            socket.send_json({"type": "connection_init", "payload": {"authorization": f"Bearer {strange}"}})
            assert socket.receive_json()["type"] == "connection_ack"
            socket.send_json({"type": "subscribe", "id": "1", "payload": {"query": query}})
            [error] = socket.receive_json()["payload"]["errors"]
            assert error["extensions"]["code"] == "not_found"
        for payload in ({}, {"authorization": "Bearer gbc_none"}, {"authorization": 5}):
            with client.websocket_connect("/graphql", subprotocols=["graphql-transport-ws"]) as socket:
                socket.send_json({"type": "connection_init", "payload": payload})
                with pytest.raises(WebSocketDisconnect) as closed:
                    socket.receive_json()
                assert closed.value.code == 4403
