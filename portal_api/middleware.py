"""What surrounds every request: its number, the bound of its body, the headers of its answer, the end of any fault."""

import time

import structlog
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.telemetry import REQUESTS
from market.errors import MarketError, TooLarge
from market.ids import new_id
from portal_api.problems import MalformedRequest, internal_problem, problem_of, problem_response, refusal_of

log = structlog.get_logger(__name__)
REQUEST_ID_HEADER = "X-Request-Id"
REQUEST_ID = REQUEST_ID_HEADER.lower().encode()
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
LENGTH_DIGITS_MAX = 20

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
HSTS = "max-age=31536000; includeSubDomains"


class Envelope:
    """Pure ASGI, so that streams pass through untouched. body_max_bytes: larger requests are answered 413."""

    def __init__(self, app: ASGIApp, *, body_max_bytes: int, secure: bool) -> None:
        self._app = app
        self._body_max_bytes = body_max_bytes
        headers = SECURITY_HEADERS | ({"Strict-Transport-Security": HSTS} if secure else {})
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        request_id = new_id("req")
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            if scope["type"] == "http":
                await self._answer(scope, receive, send, request_id)
            else:
                await self._app(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        started, began = 0, time.perf_counter()

        async def send_enveloped(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = message["status"]
                given = message.get("headers", ())
                names = {name for name, _ in given}
                own = [header for header in self._headers if header[0] not in names]
                message = {**message, "headers": [*given, (REQUEST_ID, request_id.encode()), *own]}
            await send(message)

        try:
            refusal = self._refused_at_the_door(Headers(scope=scope).get("content-length", "0"))
            if refusal is not None:
                await problem_response(problem_of(refusal))(scope, receive, send_enveloped)
            else:
                await self._app(scope, self._bounded(receive), send_enveloped)
        except Exception as error:
            refusal = refusal_of(error)
            if refusal is None:
                log.exception("request_failed", method=scope["method"], path=scope["path"][:200])
            if started:
                # The status is out already: breaking the connection is the only honest end.
                raise
            problem = problem_of(refusal) if refusal else internal_problem(request_id)
            await problem_response(problem)(scope, receive, send_enveloped)
        finally:
            spent = time.perf_counter() - began
            REQUESTS.labels(_method(scope), _route(scope), str(started or "none")).observe(spent)
            spent_ms = round(spent * 1000, 1)
            log.debug("request", method=scope["method"], path=scope["path"][:200], status=started, ms=spent_ms)

    def _bounded(self, receive: Receive) -> Receive:
        taken = 0

        async def receive_bounded() -> Message:
            nonlocal taken
            message = await receive()
            if message["type"] == "http.request":
                taken += len(message.get("body", b""))
                if taken > self._body_max_bytes:
                    raise self._too_large()
            return message

        return receive_bounded

    def _refused_at_the_door(self, declared: str) -> MarketError | None:
        """By the length that the request says it has; a body that comes in pieces says none."""
        if not (declared.isascii() and declared.isdigit()):
            return MalformedRequest("Content-Length is not a number")
        size = int(declared[:LENGTH_DIGITS_MAX])
        return self._too_large() if size > self._body_max_bytes else None

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"the body is larger than {self._body_max_bytes} bytes, the most this address takes",
            remedy="send large things by the signed URLs of the storage",
        )


def _route(scope: Scope) -> str:
    """The template of the route that answered, never the path itself: what people ask for has no end."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else "unmatched"


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in METHODS else "other"
