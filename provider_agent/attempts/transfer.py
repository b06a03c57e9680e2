"""Large things over signed URLs: straight to and from storage, without the node's credential."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType

import httpx

from market.errors import InvalidInput, TooLarge
from provider_agent.conversation import Refused, Unreachable

PIECE_BYTES = 256 * 1024
_STALL_SECONDS = 60.0


class Transfers:
    """A client of storage. Raises Unreachable for what may go better later and Refused for what will not."""

    def __init__(self) -> None:
        # A client of its own: the portal's credential never goes to an address that is not the portal's.
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(_STALL_SECONDS, connect=20.0),
            limits=httpx.Limits(max_connections=8, max_keepalive_connections=4, keepalive_expiry=10),
        )

    async def __aenter__(self) -> "Transfers":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def download(self, url: str, to: Path, *, sha256: str, bytes_max: int) -> None:
        """The file behind the URL, if it is the one that was promised. Raises TooLarge, InvalidInput."""
        digest = hashlib.sha256()
        size = 0
        try:
            async with self._client.stream("GET", url) as response:
                _require_success("download", response)
                with to.open("wb") as file:
                    async for piece in response.aiter_raw(PIECE_BYTES):
                        size += len(piece)
                        if size > bytes_max:
                            raise TooLarge(f"the archive is larger than the {bytes_max} bytes of disk that were leased")
                        digest.update(piece)
                        await asyncio.to_thread(file.write, piece)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unreachable(f"download: {type(error).__name__}") from error
        if digest.hexdigest() != sha256:
            raise InvalidInput(f"the archive's SHA-256 is {digest.hexdigest()}, not the declared {sha256}")

    async def upload(self, url: str, descriptor: int, size: int) -> None:
        """PUT the first `size` bytes of an open file."""
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        try:
            response = await self._client.put(url, content=_pieces(descriptor, size), headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Unreachable(f"upload: {type(error).__name__}") from error
        _require_success("upload", response)


async def _pieces(descriptor: int, size: int) -> AsyncIterator[bytes]:
    offset = 0
    while offset < size:
        piece = await asyncio.to_thread(os.pread, descriptor, min(PIECE_BYTES, size - offset), offset)
        if not piece:
            raise httpx.ReadError("the file became shorter while it was sent")
        offset += len(piece)
        yield piece


def _require_success(what: str, response: httpx.Response) -> None:
    status = response.status_code
    if response.is_success:
        return
    if status in (408, 425, 429) or status >= 500:
        raise Unreachable(f"{what}: storage answered {status}")
    # The URL itself carries a right, so it is never written anywhere.
    raise Refused(f"{what}: storage answered {status}", status=status)
