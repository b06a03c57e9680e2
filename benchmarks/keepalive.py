"""HTTP/1.1 over one kept connection, as cheap as Python allows: the measuring side must not be what is measured."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any


class Refused(Exception):
    """An answer that is no success, in the market's own words. status: its HTTP status."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(f"{status}: {words}")
        self.status = status


class KeepAlive(asyncio.Protocol):
    """One request at a time; answers carry a Content-Length, as all of the portal's do."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._answer: asyncio.Future[bytes] | None = None

    @classmethod
    async def open(cls, host: str, port: int) -> "KeepAlive":
        _, connection = await asyncio.get_running_loop().create_connection(cls, host, port)
        return connection

    async def request(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Any:
        """The JSON of a successful answer. Raises Refused, ConnectionError."""
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"{method} {path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(head.encode("ascii") + body)
        return json.loads(await self._answer)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the portal closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0 or self._answer is None:
            return
        head = bytes(self._received[:end]).lower()
        start = head.index(b"content-length:") + len(b"content-length:")
        size = int(head[start:].split(b"\r\n", 1)[0])
        if len(self._received) < end + 4 + size:
            return
        body = bytes(self._received[end + 4 : end + 4 + size])
        del self._received[: end + 4 + size]
        status = int(head[9:12])
        if 200 <= status < 300:
            self._answer.set_result(body)
        else:
            self._answer.set_exception(Refused(status, body.decode(errors="replace")))
