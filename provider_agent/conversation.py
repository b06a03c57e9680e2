"""The agent's one authenticated HTTPS conversation with the portal; it always dials out.

By aiohttp, which Ray brings: a request takes it a third of what it takes httpx, and each job needs two at least.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx
from pydantic import BaseModel, ValidationError

from market.agent_api import (
    SIGNATURE_HEADER,
    AttemptOrder,
    HealthReport,
    LogAnswer,
    OutputFile,
    OutputsAnswer,
    OutputsRequest,
    PollAnswer,
    PollRequest,
    Report,
    ReportAnswer,
)
from market.canonical import canonical_json
from market.error_codes import Kind
from market.errors import InvalidInput, MarketError, Unauthenticated
from market.proof_api import ProofAnswer, ProofsAnswer
from market.resources import Inventory
from market.signing import REPORT_TAG, NodeKey
from provider_agent.config import AGENT_VERSION
from provider_agent.minder.layout import boottime_ns

ANSWER_MAX_BYTES = 8_000_000
DETAIL_MAX = 300
CONNECTIONS_MAX, KEEPALIVE_SECONDS = 16, 30.0
_POLL_SLACK_SECONDS = 8.0

_Answer = TypeVar("_Answer", bound=BaseModel)


class Unreachable(MarketError):
    """The portal did not answer, or asked to be left alone for a while: say it again later."""

    kind, code = Kind.UNAVAILABLE, "portal_unreachable"

    def __init__(self, detail: str, *, retry_after: float = 0) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class Refused(MarketError):
    """The portal understood and said no; the same request will not succeed later."""

    kind, code = Kind.INVALID, "portal_refused"

    def __init__(self, detail: str, *, status: int) -> None:
        super().__init__(detail)
        self.status = status


@dataclass(frozen=True, slots=True)
class Polled:
    """An answer and its times. leases_from_ns: from when on what is left of leases counts, on CLOCK_BOOTTIME, which is
    when the question was sent, and for how long the portal then kept it; waited_seconds: until the answer was here."""

    answer: PollAnswer
    leases_from_ns: int
    waited_seconds: float

    @classmethod
    def at(cls, answer: PollAnswer, sent_ns: int, answered_ns: int) -> "Polled":
        """Nobody can have kept a question for longer than it was away."""
        kept_ns = min(answer.waited_ms * 1_000_000, answered_ns - sent_ns)
        return cls(answer, sent_ns + kept_ns, (answered_ns - sent_ns) / 1e9)

    def is_early(self, now_ns: int, seconds: float) -> bool:
        """Whether deadlines counted from it would lie that much before the true ones, or more: the answer was slow."""
        return now_ns - self.leases_from_ns >= seconds * 1e9


class Conversation:
    """Every request of a joined node. Each raises Unreachable, Refused, or Unauthenticated for a bad credential."""

    def __init__(self, portal_url: str, credential: str, key: NodeKey, *, timeout_seconds: float = 20.0) -> None:
        self._key = key
        self._timeout = timeout_seconds
        self._url = portal_url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {credential}", "User-Agent": f"gridbay-agent/{AGENT_VERSION}"}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> "Conversation":
        secure = self._url.startswith("https://")
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            connector=aiohttp.TCPConnector(
                limit=CONNECTIONS_MAX,
                keepalive_timeout=KEEPALIVE_SECONDS,
                # The same certificates as the agent's other requests go by.
                ssl=httpx.create_ssl_context() if secure else True,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            proxy=_proxy_to(self._url),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    async def poll(self, request: PollRequest) -> Polled:
        """Tell what is here and wait for what is wanted."""
        sent = boottime_ns()
        answer = await self._ask(
            PollAnswer,
            "POST",
            "/agent/v1/poll",
            content=_json(request),
            seconds_max=request.wait_seconds + _POLL_SLACK_SECONDS,
        )
        return Polled.at(answer, sent, boottime_ns())

    async def report(self, report: Report) -> ReportAnswer:
        """The bytes that are signed are the bytes that are sent."""
        body = canonical_json(report.model_dump(mode="json"))
        headers = {SIGNATURE_HEADER: self._key.sign(REPORT_TAG, body)}
        return await self._ask(ReportAnswer, "POST", "/agent/v1/reports", content=body, headers=headers)

    async def declare_inventory(self, inventory: Inventory) -> None:
        await self._send("PUT", "/agent/v1/inventory", content=_json(inventory))

    async def tell_health(self, report: HealthReport) -> None:
        await self._send("PUT", "/agent/v1/health", content=_json(report))

    async def order(self, attempt_id: str) -> AttemptOrder:
        return await self._ask(AttemptOrder, "GET", f"/agent/v1/attempts/{attempt_id}/order")

    async def put_log(self, attempt_id: str, offset: int, chunk: bytes) -> int:
        """Where the portal's copy of the log ends now."""
        answer = await self._ask(
            LogAnswer,
            "PUT",
            f"/agent/v1/attempts/{attempt_id}/log?offset={offset}",
            content=chunk,
            headers={"Content-Type": "application/octet-stream"},
        )
        return answer.next_offset

    async def declare_outputs(self, attempt_id: str, files: list[OutputFile]) -> OutputsAnswer:
        request = OutputsRequest(files=files)
        return await self._ask(
            OutputsAnswer, "POST", f"/agent/v1/attempts/{attempt_id}/outputs", content=_json(request)
        )

    async def proofs(self) -> ProofsAnswer:
        """The challenges that wait for this node."""
        return await self._ask(ProofsAnswer, "GET", "/agent/v1/proofs")

    async def proof_turn(
        self, answer: type[_Answer], challenge_id: str, turn: str, request: BaseModel | None = None
    ) -> _Answer:
        """One turn of a proof: `begin`, `commit`, `memory` or `network`."""
        content = _json(request) if request is not None else None
        return await self._ask(answer, "POST", f"/agent/v1/proofs/{challenge_id}/{turn}", content=content)

    async def answer_proof(self, challenge_id: str, request: ProofAnswer) -> None:
        await self._send("POST", f"/agent/v1/proofs/{challenge_id}/answer", content=_json(request))

    async def _ask(self, answer: type[_Answer], method: str, path: str, **arguments: Any) -> _Answer:
        body = await self._send(method, path, **arguments)
        try:
            return answer.model_validate_json(body)
        except ValidationError as error:
            # A proxy's page or a half-deployed portal: it may well be better in a moment.
            raise Unreachable(
                f"{method} {path}: the answer cannot be understood ({error.error_count()} faults)"
            ) from None

    async def _send(
        self,
        method: str,
        path: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        seconds_max: float | None = None,
    ) -> bytes:
        assert self._session is not None, "a conversation is entered first"
        where = f"{method} {path.partition('?')[0]}"
        all_headers = {"Content-Type": "application/json", **(headers or {})}
        answered = seconds_max or self._timeout
        # In all as well: a portal that does not even read is waited for no longer.
        patience = aiohttp.ClientTimeout(self._timeout + answered, connect=self._timeout, sock_read=answered)
        try:
            async with self._session.request(
                method, self._url + path, data=content, headers=all_headers, timeout=patience, allow_redirects=False
            ) as response:
                body = await _bounded_body(where, response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"{where}: {type(error).__name__} {error}".rstrip()) from error
        if 200 <= response.status < 300:
            return body
        raise _refusal(where, response, body)


def _json(message: BaseModel) -> bytes:
    return message.model_dump_json().encode()


def _proxy_to(url: str) -> str | None:
    """As the environment says (HTTPS_PROXY, NO_PROXY...), looked up once. Raises InvalidInput."""
    parts, proxies = urlsplit(url), getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    kind = urlsplit(proxy).scheme
    if kind not in ("http", "https"):
        raise InvalidInput(
            f"the environment names a proxy of the kind {kind}, and the agent can use HTTP ones alone",
            remedy=f"set {parts.scheme.upper()}_PROXY to an http:// one, or put {parts.hostname} into NO_PROXY",
        )
    return proxy


async def _bounded_body(where: str, response: aiohttp.ClientResponse) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > ANSWER_MAX_BYTES:
            raise Unreachable(f"{where}: the answer is longer than {ANSWER_MAX_BYTES} bytes")
        pieces.append(piece)
    return b"".join(pieces)


def _refusal(where: str, response: aiohttp.ClientResponse, body: bytes) -> MarketError:
    """What an unsuccessful answer means: come back later, never, or with another credential."""
    status = response.status
    words = body[:DETAIL_MAX].decode(errors="replace").strip()
    if status == HTTPStatus.UNAUTHORIZED:
        return Unauthenticated(
            f"{where}: the portal does not accept this node's credential: {words}",
            remedy="it was revoked or belongs to another market; join again with a new join token",
        )
    if status in (408, 425, 429) or status >= 500 or status < 400:
        return Unreachable(f"{where}: {status} {words}", retry_after=_retry_after(response))
    return Refused(f"{where}: {status} {words}", status=status)


def _retry_after(response: aiohttp.ClientResponse) -> float:
    text = response.headers.get("Retry-After", "")
    with contextlib.suppress(ValueError):
        return max(0.0, float(text))
    with contextlib.suppress(ValueError):
        sent = parsedate_to_datetime(response.headers.get("Date", ""))
        return max(0.0, (parsedate_to_datetime(text) - sent).total_seconds())
    return 0.0
