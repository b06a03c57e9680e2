"""Whatever goes wrong is answered as problem+json: where, why and how to mend it, and never a traceback."""

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import httpx
import pytest
import structlog
from portal_world import SPEC, Caller, PortalWorld

from infra.ground import Ground
from market.error_codes import Kind
from portal_api.app import BODY_MAX_BYTES, create_app
from portal_api.middleware import REQUEST_ID_HEADER
from portal_api.problems import STATUSES
from portal_api.threads import DatabaseThreads

pytestmark = pytest.mark.anyio


def _problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert (problem["status"], problem["code"]) == (status, code), problem
    assert problem["title"] == HTTPStatus(status).phrase
    assert problem["detail"] and problem["type"].endswith(code)
    assert answer.headers[REQUEST_ID_HEADER].startswith("req_")
    return problem


def test_every_kind_has_a_status() -> None:
    assert set(STATUSES) == set(Kind)
    assert all(400 <= status < 600 for status in STATUSES.values())


async def test_what_the_framework_refuses_by_itself(world: PortalWorld) -> None:
    customer = await world.customer()
    _problem(await customer.get("/v1/nothing"), 404, "no_such_route")
    wrong = await customer.http.patch("/v1/jobs")
    _problem(wrong, 405, "method_not_allowed")
    assert wrong.headers["allow"]
    for body in (b"{", b"[" * 100_000, b'{"spec": \xff}'):
        answer = await customer.http.post("/v1/jobs/plan", content=body, headers={"Content-Type": "application/json"})
        _problem(answer, 400, "malformed_body")


async def test_faults_of_the_input_name_their_places(world: PortalWorld) -> None:
    customer = await world.customer()
    fault = _problem(await customer.post("/v1/workdirs", {"sha256": "x", "size_bytes": 0}), 422, "invalid_input")
    assert {item["pointer"] for item in fault["errors"]} == {"/sha256", "/size_bytes"}
    fault = _problem(await customer.get("/v1/jobs", params={"limit": 0}), 422, "invalid_input")
    assert (fault["errors"][0]["source"], fault["errors"][0]["parameter"]) == ("query", "limit")
    spec = {**SPEC, "resources": {"gpu": "0.5"}, "immage": "x", "schedule": "daily"}
    fault = _problem(await customer.post("/v1/jobs/plan", {"spec": spec}), 422, "invalid_spec")
    places = {item["pointer"]: item["detail"] for item in fault["errors"]}
    assert set(places) == {"/spec/resources/gpu", "/spec/immage", "/spec/schedule"}
    assert "did you mean `image`" in places["/spec/immage"]


@pytest.mark.parametrize("character", ["\0", "\ud800"])
async def test_a_character_that_cannot_be_stored_is_the_inputs_fault(world: PortalWorld, character: str) -> None:
    await world.node()
    customer = await world.customer()
    spec = {**SPEC, "run": f"echo {character}"}
    answer = await customer.submit(run=spec["run"])
    assert answer.status_code == 422, answer.text
    secret = await customer.put("/v1/secrets/NAME", {"value": f"a{character}"})
    assert secret.status_code in (204, 422)
    assert (await customer.post("/v1/tokens", {"name": character, "role": "viewer"})).status_code == 422
    assert (await customer.get("/v1/jobs/%00")).status_code == 404


async def test_a_body_is_bounded_whether_it_says_its_length_or_not(world: PortalWorld) -> None:
    customer = await world.customer()

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(BODY_MAX_BYTES // 100_000 + 10):
            yield b" " * 100_000

    headers = {"Content-Type": "application/json"}
    said = await customer.http.post("/v1/jobs/plan", content=b" " * (BODY_MAX_BYTES + 1), headers=headers)
    _problem(said, 413, "too_large")
    unsaid = await customer.http.post("/v1/jobs/plan", content=endless(), headers=headers)
    _problem(unsaid, 413, "too_large")
    node = await world.node()
    _, attempt_id = await world.placed(customer)
    chunk = await node.http.put(f"/agent/v1/attempts/{attempt_id}/log?offset=0", content=b"x" * 300_000)
    _problem(chunk, 413, "too_large")


@pytest.mark.parametrize("path", ["/v1/me", "/v1/jobs?limit=1"], ids=["express lane", "framework"])
async def test_a_fault_of_ours_tells_the_log_everything_and_the_client_a_number(
    world: PortalWorld, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    customer = await world.customer()

    async def broken(*_: object) -> None:
        raise RuntimeError("the password is hunter2")

    monkeypatch.setattr(DatabaseThreads, "read", broken)
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as logged:
        answer = await customer.get(path)
    problem = _problem(answer, 500, "internal")
    request_id = answer.headers[REQUEST_ID_HEADER]
    assert request_id in problem["detail"] and "hunter2" not in answer.text and "Traceback" not in answer.text
    [fault] = [entry for entry in logged if entry["event"] == "request_failed"]
    assert (fault["request_id"], fault["exc_info"]) == (request_id, True)


async def test_without_its_database_the_portal_says_so_and_when_to_come_back(base: Ground) -> None:
    away = base.settings.model_copy(
        update={"database_url": type(base.settings.database_url)("postgresql+psycopg://nobody@127.0.0.1:1/none")}
    )
    app = create_app(Ground(away))
    async with app.router.lifespan_context(app), Caller(app, None).http as http:
        answer = await http.get("/health")
    _problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "1"


async def test_every_answer_carries_the_headers_that_keep_browsers_careful(world: PortalWorld) -> None:
    anonymous = await world.anonymous()
    for path in ("/health", "/openapi.json", "/v1/jobs", "/nothing"):
        headers = (await anonymous.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["cache-control"] == "no-store"
    assert (await anonymous.get("/v1/jobs")).headers["www-authenticate"] == "Bearer"


async def test_the_document_lists_what_can_go_wrong(world: PortalWorld) -> None:
    document = world.app.openapi()
    assert document["openapi"].startswith("3.1")
    operations = [item for path in document["paths"].values() for item in path.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(ids) == len(set(ids))
    for operation in operations:
        for status, response in operation["responses"].items():
            if status >= "400":
                assert list(response["content"]) == ["application/problem+json"], operation["operationId"]
    submit = document["paths"]["/v1/jobs"]["post"]
    assert {"400", "401", "402", "403", "409", "413", "422", "500", "503"} <= set(submit["responses"])
    [key] = [item for item in submit["parameters"] if item["name"] == "Idempotency-Key"]
    assert key["required"]
