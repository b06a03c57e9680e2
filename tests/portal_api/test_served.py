"""The portal in its own process, behind gunicorn: what only a real server and real connections show."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest
from answering import until_it_answers
from httpx_sse import ServerSentEvent, aconnect_sse
from portal_world import Customer, Node, PortalWorld
from websockets.asyncio.client import connect

from infra.embedded.ports import free_port
from infra.settings import Settings

pytestmark = pytest.mark.anyio


@pytest.fixture
def served(config: Settings) -> Iterator[str]:
    """The URL of the process, once it answers."""
    bind = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", "from gridbay.processes.api import main; main()"],
        env=os.environ | {"GRIDBAY_BIND": bind, "GRIDBAY_LONG_POLL_SECONDS": "20"},
    )
    try:
        until_it_answers(process, f"http://{bind}/health")
        yield f"http://{bind}"
    finally:
        process.kill()
        process.wait(10)


def _there(world: PortalWorld, caller: Customer | Node, url: str) -> httpx.AsyncClient:
    """A client of the served portal with that caller's token."""
    return httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {caller.token}"}, timeout=30)


@asynccontextmanager
async def _log(
    http: httpx.AsyncClient, job_id: str, after: str | None
) -> AsyncIterator[AsyncIterator[ServerSentEvent]]:
    headers = {"Last-Event-ID": after} if after else {}
    async with aconnect_sse(http, "GET", f"/v1/jobs/{job_id}/logs", headers=headers) as source:
        yield (event async for event in source.aiter_sse() if event.data)


async def test_streams_polls_and_sockets_over_real_connections(world: PortalWorld, served: str) -> None:
    url = served
    node, customer = await world.node(), await world.customer()
    job_id, attempt_id = await world.placed(customer)
    async with _there(world, customer, url) as http, _there(world, node, url) as agent:
        seen = (await node.poll())["version"]
        body = {"boot_id": "boot", "seen_version": seen, "wait_seconds": 20, "pool": "ready"}
        polling = asyncio.create_task(agent.post("/agent/v1/poll", json=body))

        texts, place = [], None
        for count in range(3):
            # Each piece over a connection of its own, that is broken off in the middle of the stream.
            async with _log(http, job_id, place) as events:
                await agent.put(f"/agent/v1/attempts/{attempt_id}/log?offset={2 * count}", content=b"x\n")
                event = await anext(events)
            texts.append(json.loads(event.data)["text"])
            place = event.id
        assert "".join(texts) == "x\nx\nx\n" and place == "1:6"

        socket_url = url.replace("http", "ws") + "/graphql"
        headers = {"Authorization": f"Bearer {customer.token}"}
        protocols = ["graphql-transport-ws"]
        async with connect(socket_url, subprotocols=protocols, additional_headers=headers) as socket:  # type: ignore[arg-type]
            await socket.send(json.dumps({"type": "connection_init"}))
            assert json.loads(await socket.recv())["type"] == "connection_ack"
            query = f'subscription {{ jobChanged(jobId: "{job_id}") {{ state }} }}'
            await socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": query}}))
            assert "PLACED" in str(await socket.recv())
            began = time.monotonic()
            await customer.post(f"/v1/jobs/{job_id}/stop")
            assert "STOPPING" in str(await socket.recv())
            told = time.monotonic() - began
        polled = await polling
        assert polled.json()["attempts"][0]["action"] == "stop" and polled.json()["version"] > seen
        assert told < 3.0, "another process's commit is heard at once"
