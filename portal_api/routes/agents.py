"""The agents' conversation: joining, the long poll, reports, orders, logs and outputs (market/agent_api.py)."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request

from billing.metering.parcels import pack
from infra.bus.usage import UsageMessage
from market.agent_api import (
    LOG_CHUNK_MAX_BYTES,
    LOG_MAX_BYTES,
    REPORT_BODY_MAX_BYTES,
    SIGNATURE_HEADER,
    AttemptOrder,
    HealthReport,
    JoinAnswer,
    JoinRequest,
    LogAnswer,
    OutputsAnswer,
    OutputsRequest,
    PollAnswer,
    PollRequest,
    Report,
    ReportAnswer,
    Upload,
)
from market.errors import TooLarge
from market.resources import Inventory
from portal_api import agent_joins, agent_orders
from portal_api.agent_polls import Desire, Poll
from portal_api.agent_reports import CheckedReport, parse_report
from portal_api.identity.principals import SignedInAgent, SignedInJoiner
from portal_api.portal import Portal, PortalDep
from portal_api.strictness import StrictRoute
from scheduler.files import logs, outputs
from scheduler.supply import health, nodes
from scheduler.supply.nodes import Heartbeat

router = APIRouter(route_class=StrictRoute, prefix="/agent/v1", tags=["agent"])


def _raw(media_type: str, schema: dict[str, object]) -> dict[str, object]:
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema}}}}


@router.post("/nodes", status_code=201)
async def join_node(portal: PortalDep, joiner: SignedInJoiner, request: JoinRequest) -> JoinAnswer:
    """Become a node of the join token's provider, or bring what is known of it up to date."""
    now = portal.now()
    return await portal.threads.transact(lambda session: agent_joins.join(session, joiner, request, now))


@router.post("/poll")
async def poll(portal: PortalDep, agent: SignedInAgent, request: PollRequest) -> PollAnswer:
    """The heartbeat: answered at once when the desired state is newer than what was seen, else when it changes."""
    desire, waited_seconds = await _desire(portal, agent.node_id, request)
    return PollAnswer(
        version=desire.version,
        server_time=portal.now(),
        attempts=desire.attempts,
        durable_through=desire.durable_through,
        waited_ms=int(waited_seconds * 1000),
    )


@router.put("/inventory", status_code=204)
async def put_inventory(portal: PortalDep, agent: SignedInAgent, request: Inventory) -> None:
    """What the node has now."""
    now = portal.now()
    await portal.threads.transact(lambda session: nodes.update_inventory(session, agent.node_id, request, now))


@router.put("/health", status_code=204)
async def put_health(portal: PortalDep, agent: SignedInAgent, request: HealthReport) -> None:
    """All that stands against the node now, and a minute of its telemetry."""
    now = portal.now()
    await portal.threads.transact(lambda session: health.take(session, agent.node_id, request, now))


@router.post(
    "/reports",
    openapi_extra=_raw("application/json", Report.model_json_schema(ref_template="#/components/schemas/{model}")),
)
async def report(
    portal: PortalDep,
    agent: SignedInAgent,
    request: Request,
    signature: Annotated[str, Header(alias=SIGNATURE_HEADER, max_length=200)],
) -> ReportAnswer:
    """A report: the signature is over the body's very bytes. Answered once statuses and readings are taken."""
    received_at = portal.now()
    body = await _body(request, REPORT_BODY_MAX_BYTES)
    parsed = parse_report(body, agent.node_id, await portal.node_keys.of(agent.node_id), signature)
    usage = UsageMessage(agent.node_id, received_at, pack(parsed, received_at)) if parsed.streams else None
    return await portal.reports.submit(CheckedReport(agent.node_id, parsed.statuses, usage, parsed.streams))


@router.get("/attempts/{attempt_id}/order")
async def get_order(portal: PortalDep, agent: SignedInAgent, attempt_id: str) -> AttemptOrder:
    """What the sandbox needs to start, with the secrets it asked for: only for the node that holds the attempt."""
    now = portal.now()
    return await portal.threads.read(
        lambda session: agent_orders.order(session, portal.base, agent.node_id, attempt_id, now)
    )


@router.put(
    "/attempts/{attempt_id}/log",
    openapi_extra=_raw("application/octet-stream", {"type": "string", "format": "binary"}),
)
async def put_log(
    portal: PortalDep,
    agent: SignedInAgent,
    attempt_id: str,
    request: Request,
    offset: Annotated[int, Query(ge=0, le=LOG_MAX_BYTES)],
) -> LogAnswer:
    """Bytes of an attempt's log from that offset on; the answer says where the agent goes on."""
    now, storage = portal.now(), portal.base.storage
    data = await _body(request, LOG_CHUNK_MAX_BYTES)
    end = await portal.threads.transact(
        lambda session: logs.append(session, storage, agent.node_id, attempt_id, offset, data, now)
    )
    return LogAnswer(next_offset=end)


@router.post("/attempts/{attempt_id}/outputs")
async def declare_outputs(
    portal: PortalDep, agent: SignedInAgent, attempt_id: str, request: OutputsRequest
) -> OutputsAnswer:
    """Which files the attempt keeps; the answer says what to upload where, and is empty when all is there."""
    now, storage = portal.now(), portal.base.storage
    missing = await portal.threads.transact(
        lambda session: outputs.declare(session, storage, agent.node_id, attempt_id, request.files, now)
    )
    sizes = {file.path: file.size_bytes for file in request.files}
    uploads = [Upload(path=path, url=storage.upload_url(key, size_bytes=sizes[path], now=now)) for path, key in missing]
    return OutputsAnswer(uploads=uploads)


async def _desire(portal: Portal, node_id: str, request: PollRequest) -> tuple[Desire, float]:
    """Watch, read, wait, read again; until there is something new or the time is over. Who was told just now how it
    still is waits first.

    Also how many seconds had passed when what is answered had yet to be read.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    deadline = began + min(request.wait_seconds, portal.base.settings.long_poll_seconds)
    heartbeat = Heartbeat(node_id, request.boot_id, request.pool)
    with portal.watches_of_nodes.of(node_id) as standing:
        watch, known = standing.watch, standing.is_still(request.seen_version)
        standing.answered = None
        while True:
            asked_at = loop.time()
            last = watch.ending or asked_at >= deadline
            beat = portal.heartbeats.due(heartbeat)
            if beat or last or not known:
                asked = Poll(node_id, beat, request.seen_version, last, request.streams, request.known)
                desire = await portal.polls.submit(asked)
                if desire is not None:
                    standing.answered = desire.version
                    return desire, asked_at - began
            known = False
            await watch.wait(deadline - loop.time())


async def _body(request: Request, limit_bytes: int) -> bytes:
    """The raw body. Raises TooLarge as soon as it is."""
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > limit_bytes:
            raise TooLarge(f"the body has more than {limit_bytes} bytes, the most this address takes")
    return bytes(data)
