"""One question to one Solana RPC: sent, answered in the form that was expected, or refused in the port's words."""

import asyncio
import logging
import os
import weakref
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from pydantic import TypeAdapter
from solana.exceptions import SolanaRpcException
from solana.rpc.async_api import AsyncClient
from solana.rpc.jsonrpc import JsonRpcErrorCode, JsonRpcRequest, SolanaJsonRpcError

from billing.chains.loops import OwnLoop
from billing.chains.port import ChainRefused, ChainUnavailable

_REFUSALS: Final = frozenset(
    {
        JsonRpcErrorCode.PARSE_ERROR,
        JsonRpcErrorCode.INVALID_REQUEST,
        JsonRpcErrorCode.METHOD_NOT_FOUND,
        JsonRpcErrorCode.INVALID_PARAMS,
        JsonRpcErrorCode.SERVER_ERROR_SEND_TRANSACTION_PREFLIGHT_FAILURE,
        JsonRpcErrorCode.SERVER_ERROR_TRANSACTION_SIGNATURE_VERIFICATION_FAILURE,
        JsonRpcErrorCode.SERVER_ERROR_UNSUPPORTED_TRANSACTION_VERSION,
        JsonRpcErrorCode.SERVER_ERROR_FILTER_TRANSACTION_NOT_FOUND,
    }
)
_ERROR_TEXT_MAX: Final = 500
T = TypeVar("T")

# It logs every URL, and RPC providers put the API key into theirs.
logging.getLogger("httpx2").setLevel(logging.WARNING)


_loop = OwnLoop()


class Rpc:
    """Its connections are kept for as long as it is, in each process: one to a real RPC costs a handshake."""

    def __init__(self, timeout: float) -> None:
        """`timeout`: seconds that one question may take in all."""
        self._timeout = timeout
        self._clients: dict[tuple[int, str], AsyncClient] = {}
        weakref.finalize(self, _close, self._clients)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Have questions asked from a thread that runs no event loop; what they give or raise."""
        return _loop.run(work)

    async def ask(self, url: str, method: str, params: list[Any], answer: TypeAdapter[T]) -> T:
        """Raises ChainUnavailable, and ChainRefused for what would be refused again."""
        try:
            with reading(url, method):
                return answer.validate_python(await self.call(url, method, params))
        except TimeoutError as error:
            raise ChainUnavailable(f"{host(url)} did not answer {method} in {self._timeout} s") from error
        except SolanaRpcException as error:
            # httpx names the URL in some of its messages, so only the kind of error is passed on
            raise ChainUnavailable(f"{host(url)}, {method}: {type(error.__cause__).__name__}") from error
        except SolanaJsonRpcError as error:
            kind = ChainRefused if error.code in _REFUSALS else ChainUnavailable
            text = str(error)[:_ERROR_TEXT_MAX]
            raise kind(f"{host(url)}, {method}: {text} ({error.code})") from error

    async def call(self, url: str, method: str, params: list[Any]) -> object:
        """The result as it comes. Raises TimeoutError, SolanaRpcException, SolanaJsonRpcError, ValueError."""
        key = os.getpid(), url
        client = self._clients.get(key)
        if client is None:
            client = self._clients[key] = AsyncClient(url, timeout=self._timeout)
        async with asyncio.timeout(self._timeout):
            return await client.send_rpc_request(JsonRpcRequest(method=method, params=params), object)


def _close(clients: Mapping[tuple[int, str], AsyncClient]) -> None:
    for (pid, _), client in clients.items():
        if pid == os.getpid():
            _loop.start(client.close())


@contextmanager
def reading(url: str, method: str) -> Iterator[None]:
    """An answer that makes no sense is no answer."""
    try:
        yield
    except ValueError as error:
        text = str(error)[:_ERROR_TEXT_MAX]
        raise ChainUnavailable(f"{host(url)}, {method}: the answer cannot be used: {text}") from error


def host(url: str) -> str:
    """The URL without what may be secret in it."""
    return urlsplit(url).netloc.rpartition("@")[2] or "the Solana RPC"
