"""The express lane answers as the framework would: word for word, for what it takes and for what it refuses."""

import json
from typing import Any

import httpx
import pytest
from portal_world import SPEC, Caller, PortalWorld
from starlette.types import Receive, Scope, Send

from market.customer_api import IDEMPOTENT_REPLAY_HEADER
from portal_api.app import ROUTERS
from portal_api.express import Express, Lane, lanes

pytestmark = pytest.mark.anyio
JSON = {"Content-Type": "application/json"}
KEY = {"Idempotency-Key": "one"}
REQUESTS: dict[str, tuple[str, str, Any, dict[str, str]]] = {
    "a plan": ("POST", "/v1/jobs/plan", {"spec": SPEC}, JSON),
    "a submission": ("POST", "/v1/jobs", {"spec": SPEC}, JSON | KEY),
    "a submission without a key": ("POST", "/v1/jobs", {"spec": SPEC}, JSON),
    "a submission under too long a key": ("POST", "/v1/jobs", {"spec": SPEC}, JSON | {"Idempotency-Key": "k" * 300}),
    "no specification": ("POST", "/v1/jobs", {}, JSON | KEY),
    "a field too many": ("POST", "/v1/jobs", {"spec": SPEC, "specs": 1}, JSON | KEY),
    "a list": ("POST", "/v1/jobs", [1], JSON | KEY),
    "nothing": ("POST", "/v1/jobs", b"", JSON | KEY),
    "null": ("POST", "/v1/jobs", None, JSON | KEY),
    "no JSON": ("POST", "/v1/jobs", b"{", JSON | KEY),
    "another media type": ("POST", "/v1/jobs", {"spec": SPEC}, {"Content-Type": "text/plain"} | KEY),
    "an answer in XML": ("GET", "/v1/balance", b"", {"Accept": "text/xml"}),
    "an unknown parameter": ("GET", "/v1/balance?full=1", b"", {}),
    "a balance": ("GET", "/v1/balance", b"", {}),
    "a stream of no job": ("GET", "/v1/jobs/job_1/events?once=over", b"", {}),
    "another stream of no job": ("GET", "/v1/jobs/job_1/events", b"", {}),
    "an unknown choice": ("GET", "/v1/jobs/job_1/events?once=never", b"", {}),
    "a choice said twice": ("GET", "/v1/jobs/job_1/events?once=over&once=over", b"", {}),
    "a stream of JSON": ("GET", "/v1/jobs/job_1/events", b"", {"Accept": "application/json"}),
    "a segment of nothing": ("GET", "/v1/jobs//events", b"", {}),
    "a segment of two": ("GET", "/v1/jobs/job_1%2F2/events", b"", {}),
    "a stop of no job": ("POST", "/v1/jobs/job_1/stop", b"", {}),
    "a wrong method": ("DELETE", "/v1/balance", b"", {}),
    "somebody else's right": ("POST", "/agent/v1/poll", {"boot_id": "b"}, JSON),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_it_answers_as_the_framework_does(world: PortalWorld, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    await world.node()
    customer, anonymous = await world.customer(), await world.anonymous()
    for caller in (customer, anonymous):
        express = _seen(await _send(caller, name))
        with monkeypatch.context() as patch:
            patch.setattr(Express, "__call__", _pass_on)
            assert _seen(await _send(caller, name)) == express


def test_what_a_busy_market_is_made_of_is_on_it() -> None:
    found = {place for place, _ in lanes(route for one in ROUTERS for route in one.router.routes)}
    assert {("POST", "/v1/jobs", ""), ("GET", "/v1/jobs", "events")} <= found
    assert {("POST", "/agent/v1/poll", ""), ("POST", "/agent/v1/reports", "")} <= found


async def test_it_is_taken(world: PortalWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    way = Lane.__call__

    async def noted(lane: Lane, *arguments: Any) -> None:
        taken.append(lane)
        await way(lane, *arguments)

    monkeypatch.setattr(Lane, "__call__", noted)
    await world.node()
    assert (await (await world.customer()).submit(key="one")).status_code == 201
    assert taken


async def _pass_on(express: Express, scope: Scope, receive: Receive, send: Send) -> None:
    await express._app(scope, receive, send)


async def _send(caller: Caller, name: str) -> httpx.Response:
    method, path, body, headers = REQUESTS[name]
    content = body if isinstance(body, bytes) else json.dumps(body)
    return await caller.http.request(method, path, content=content, headers=headers)


def _seen(answer: httpx.Response) -> tuple[int, dict[str, str], dict[str, Any]]:
    """What there is of an answer but the number of its request, and what a replay says of itself."""
    own = ("x-request-id", "content-length", IDEMPOTENT_REPLAY_HEADER.lower())
    headers = {name: value for name, value in answer.headers.items() if name not in own}
    body = answer.json()
    body.pop("request_id", None)
    return answer.status_code, headers, body
