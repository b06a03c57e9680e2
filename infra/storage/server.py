"""The HTTP face of local storage: signed PUT and GET, streamed, in a process of its own beside the portal."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.storage.local import LocalStorage
from infra.storage.port import media_type
from infra.telemetry import REQUESTS
from market.clock import Clock


def create_storage_app(storage: LocalStorage, clock: Clock) -> Starlette:
    """The application that serves one local storage."""

    async def put(request: Request) -> Response:
        key = request.path_params["key"]
        allowed = _allowed(storage, clock, "PUT", key, request)
        if allowed is None:
            return _refused()
        size = int(allowed["size"])
        if request.headers.get("content-length", str(size)) != str(size):
            return _wrong_size(size)
        try:
            taken = await _receive(storage, key, request.stream(), size)
        except ClientDisconnect:
            return PlainTextResponse("the upload broke off; send it again\n", status_code=400)
        return Response(status_code=204) if taken else _wrong_size(size)

    async def get(request: Request) -> Response:
        key = request.path_params["key"]
        allowed = _allowed(storage, clock, "GET", key, request)
        if allowed is None:
            return _refused()
        path = storage.path(key)
        if not await anyio.Path(path).is_file():
            return PlainTextResponse("there is no such object\n", status_code=404)
        return _download(path, allowed.get("filename"))

    async def health(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    return Starlette(
        routes=[
            Route("/health", health, methods=["GET"]),
            Route("/{key:path}", put, methods=["PUT"]),
            Route("/{key:path}", get, methods=["GET"]),
        ],
        middleware=[Middleware(_Counted)],
    )


class _Counted:
    """Counts the requests as those of the portal are."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), "none"

        async def send_counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self._app(scope, receive, send_counted)
        finally:
            method = scope["method"] if scope["method"] in ("GET", "PUT") else "other"
            REQUESTS.labels(method, "object", status).observe(time.perf_counter() - began)


def _allowed(storage: LocalStorage, clock: Clock, method: str, key: str, request: Request) -> dict[str, str] | None:
    try:
        storage.path(key)
        return storage.permits(method, key, request.url.query, clock.now())
    except (ValueError, KeyError):
        return None


async def _receive(storage: LocalStorage, key: str, chunks: AsyncIterator[bytes], expected: int) -> bool:
    """Whether the upload was taken; one of another size leaves nothing behind."""
    size = 0
    with storage.incoming(key) as part:
        async for chunk in chunks:
            size += len(chunk)
            if size > expected:
                return False
            await anyio.to_thread.run_sync(part.write_bytes, chunk)
        if size != expected:
            return False
        await anyio.to_thread.run_sync(part.keep)
    return True


def _download(path: Path, filename: str | None) -> Response:
    # A customer's file is never shown by the browser as a page of ours.
    disposition = f"attachment; filename*=UTF-8''{quote(filename or path.name)}"
    headers = {"Content-Disposition": disposition, "X-Content-Type-Options": "nosniff"}
    return FileResponse(path, headers=headers, media_type=media_type(filename or path.name))


def _refused() -> Response:
    return PlainTextResponse(
        "this URL is not signed by the market or has expired; ask for a new one\n", status_code=403
    )


def _wrong_size(size: int) -> Response:
    return PlainTextResponse(f"this URL takes an upload of exactly {size} bytes\n", status_code=413)
