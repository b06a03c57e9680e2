"""Joining a market: the node's key, what the node has, and the proof that whoever asks holds the private key."""

import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from pydantic import ValidationError

from market.agent_api import JoinAnswer, JoinRequest
from market.errors import InvalidInput, MarketError, Unauthenticated, Unavailable
from market.faults import faults_of
from market.signing import JOIN_TAG
from provider_agent.config import AGENT_VERSION, Identity, StateFolder
from provider_agent.gpus.detection import open_gpus
from provider_agent.gpus.inventory import measure, take_inventory

JOIN_SECONDS_MAX = 30.0
DETAIL_MAX = 500


@dataclass(frozen=True, slots=True)
class Offering:
    """What the owner says of the node. None: as the machine has it, or as the market's default price is."""

    name: str | None = None
    simulate: str | None = None
    cpu_milli: int | None = None
    memory_bytes: int | None = None
    price_microusd_per_gpu_hour: int | None = None
    price_microusd_per_cpu_hour: int | None = None


def join(state_dir: Path, portal_url: str, join_token: str, offering: Offering, *, sandbox: str) -> JoinAnswer:
    """Join, or join again with the same key, and keep the answer in the state folder.

    sandbox: the kind that the checklist found. Raises Unauthenticated (token), Unavailable (portal), InvalidInput,
    and Conflict while an agent runs on the folder.
    """
    portal_url = checked_url(portal_url)
    folder = StateFolder(state_dir.absolute())
    folder.prepare()
    with folder.held():
        key = folder.node_key()
        gpus = open_gpus(offering.simulate, key.public_hex)
        measured = measure(folder.root)
        request = _request(
            public_key=key.public_hex,
            possession=key.sign(JOIN_TAG, join_token.encode()),
            name=offering.name or default_name(),
            inventory=take_inventory(
                gpus,
                measured,
                cpu_milli=offering.cpu_milli,
                memory_bytes=offering.memory_bytes,
                sandbox=sandbox,
            ),
            price_microusd_per_gpu_hour=offering.price_microusd_per_gpu_hour,
            price_microusd_per_cpu_hour=offering.price_microusd_per_cpu_hour,
        )
        answer = _ask(portal_url, join_token, request)
        identity = Identity(
            node_id=answer.node_id,
            provider_id=answer.provider_id,
            portal_url=portal_url,
            name=request.name,
            disk_bytes=request.inventory.disk_bytes,
            cpu_milli=offering.cpu_milli,
            memory_bytes=offering.memory_bytes,
            simulate=offering.simulate,
        )
        folder.save(identity, answer.token)
    return answer


def _request(**fields: Any) -> JoinRequest:
    try:
        return JoinRequest(**fields)
    except ValidationError as error:
        faults = list(faults_of(JoinRequest, error.errors(include_url=False)))
        raise InvalidInput(f"{faults[0].pointer.lstrip('/')}: {faults[0].detail}", errors=faults) from None


def checked_url(text: str) -> str:
    """The portal's address without a trailing slash. Raises InvalidInput."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username:
        raise InvalidInput(f"{text!r} is not the address of a portal", remedy="write it like https://portal.example")
    return text.rstrip("/")


def default_name() -> str:
    """The host's name in the form a node's name has."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", socket.gethostname())[:63].strip(".-_")
    return plain or "node"


def _ask(portal_url: str, join_token: str, request: JoinRequest) -> JoinAnswer:
    headers = {"Authorization": f"Bearer {join_token}", "User-Agent": f"gridbay-agent/{AGENT_VERSION}"}
    try:
        response = httpx.post(
            f"{portal_url}/agent/v1/nodes",
            content=request.model_dump_json().encode(),
            headers={**headers, "Content-Type": "application/json"},
            timeout=JOIN_SECONDS_MAX,
        )
    except httpx.HTTPError as error:
        raise Unavailable(
            f"{portal_url} cannot be reached: {type(error).__name__} {error}".rstrip(),
            remedy="check the address, the network and the proxy settings, then join again",
        ) from error
    if response.is_success:
        try:
            return JoinAnswer.model_validate_json(response.content)
        except ValidationError:
            raise Unavailable(f"{portal_url} answered something that is not a portal's answer") from None
    raise _refusal(response)


def _refusal(response: httpx.Response) -> MarketError:
    words = _words(response)
    if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return Unauthenticated(
            f"the portal does not accept the join token: {words}",
            remedy="it may be used up or expired; make a new one in the provider's account",
        )
    if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        return Unavailable(f"the portal is not well ({response.status_code}): {words}", remedy="join again later")
    return InvalidInput(f"the portal refused ({response.status_code}): {words}")


def _words(response: httpx.Response) -> str:
    """The detail of a problem document, or the start of whatever it is."""
    try:
        document = response.json()
    except ValueError:
        document = None
    detail = document.get("detail") if isinstance(document, dict) else None
    return str(detail or response.text)[:DETAIL_MAX].strip()
