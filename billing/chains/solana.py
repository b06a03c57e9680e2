"""The chain port over Solana's JSON-RPC: the same code for the local chain and for a real cluster."""

import asyncio
import base64
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from pydantic import TypeAdapter
from solana.exceptions import SolanaRpcException
from solana.rpc.async_api import AsyncClient
from solana.rpc.jsonrpc import JsonRpcErrorCode, JsonRpcRequest, SolanaJsonRpcError
from solders.transaction import VersionedTransaction

from billing.chains import answers
from billing.chains.faces import Faces
from billing.chains.port import (
    ADDRESS_PAGE_MAX,
    STATUSES_MAX,
    AddressSignature,
    Blockhash,
    ChainRefused,
    ChainTransaction,
    ChainUnavailable,
    SignatureState,
    SignatureStatus,
    Simulation,
)
from billing.chains.transactions import associated_token_address

TRANSACTION_VERSION_MAX: Final = 1
_CONFIRMED: Final = {"commitment": "confirmed"}
_FINALIZED: Final = {"commitment": "finalized"}
_SEARCH_HISTORY: Final = {"searchTransactionHistory": True}
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


class SolanaChain:
    """Reads go to one face and fail over to the next, sends go to all; what is not there, two must say.

    Each call runs its own event loop and client, which leaves nothing behind for a forked worker to inherit; it must
    not be made from a thread that runs an event loop.
    """

    def __init__(self, urls: Sequence[str], timeout: float = 10.0) -> None:
        """`timeout`: seconds that one question to one RPC may take in all."""
        if not urls:
            raise ValueError("no Solana RPC URL given: set GRIDBAY_SOLANA_RPC_URLS")
        for url in urls:
            if urlsplit(url).scheme not in ("http", "https"):
                raise ValueError(f"a Solana RPC URL begins with http:// or https://: {_host(url)}")
        self._faces = Faces(urls)
        self._timeout = timeout

    def latest_blockhash(self) -> Blockhash:
        answer = self._ask_one("getLatestBlockhash", [_CONFIRMED], answers.BLOCKHASH).value
        return Blockhash(answer.blockhash, answer.last_valid_block_height)

    def finalized_block_height(self) -> int:
        return self._ask_one("getBlockHeight", [_FINALIZED], answers.NUMBER)

    def send(self, wire: bytes) -> str:
        signature = str(VersionedTransaction.from_bytes(wire).signatures[0])
        # Without preflight: the outcome is read from the status, and what was sent before is no error.
        options = {"encoding": "base64", "skipPreflight": True}

        async def tell(url: str) -> str:
            answered = await self._ask(url, "sendTransaction", [_base64(wire), options], answers.TEXT)
            with _reading(url, "sendTransaction"):
                if answered != signature:
                    raise ValueError(f"it is about {answered}, not {signature}")
            return signature

        return asyncio.run(self._faces.all(tell))

    def simulate(self, wire: bytes) -> Simulation:
        options = {"encoding": "base64", "replaceRecentBlockhash": True} | _CONFIRMED
        answer = self._ask_one("simulateTransaction", [_base64(wire), options], answers.SIMULATION).value
        return Simulation(answers.failure(answer.err), tuple(answer.logs or ()), answer.units_consumed)

    def signature_statuses(self, signatures: Sequence[str]) -> list[SignatureStatus]:
        if len(signatures) > STATUSES_MAX:
            raise ValueError(f"{len(signatures)} signatures in one call: at most {STATUSES_MAX}")
        if not signatures:
            return []
        return asyncio.run(self._faces.one(lambda url: self._statuses(url, signatures)))

    def is_expired_everywhere(self, signature: str, last_valid_block_height: int) -> bool:
        async def expired_at(url: str) -> bool:
            # Height first: a transaction that lands between the two questions is then still seen.
            if await self._ask(url, "getBlockHeight", [_FINALIZED], answers.NUMBER) <= last_valid_block_height:
                return False
            (status,) = await self._statuses(url, [signature])
            return status.state == SignatureState.UNKNOWN

        return asyncio.run(self._faces.agree(expired_at))

    def signatures_for_address(
        self, address: str, *, until: str | None = None, before: str | None = None, limit: int = ADDRESS_PAGE_MAX
    ) -> list[AddressSignature]:
        if not 1 <= limit <= ADDRESS_PAGE_MAX:
            raise ValueError(f"a page of {limit} signatures: 1 to {ADDRESS_PAGE_MAX}")
        options: dict[str, Any] = {"limit": limit} | _FINALIZED
        options |= {name: at for name, at in (("until", until), ("before", before)) if at is not None}
        lines = self._ask_one("getSignaturesForAddress", [address, options], answers.LINES)
        return [line.line() for line in lines]

    def read_transaction(self, signature: str) -> ChainTransaction | None:
        version = {"maxSupportedTransactionVersion": TRANSACTION_VERSION_MAX}
        options = {"encoding": "base64"} | version | _FINALIZED

        async def read_at(url: str) -> ChainTransaction | None:
            answer = await self._ask(url, "getTransaction", [signature, options], answers.TRANSACTION)
            if answer is None:
                return None
            with _reading(url, "getTransaction"):
                transaction = answer.read()
                if transaction.signature != signature:
                    raise ValueError(f"it is about {transaction.signature}, not {signature}")
            return transaction

        return asyncio.run(self._faces.one(read_at))

    def token_balance(self, owner: str, mint: str) -> int:
        options = {"encoding": "base64"} | _FINALIZED
        address = associated_token_address(owner, mint)

        async def read_at(url: str) -> int:
            account = (await self._ask(url, "getAccountInfo", [address, options], answers.ACCOUNT)).value
            with _reading(url, "getAccountInfo"):
                return 0 if account is None else account.token_amount()

        return asyncio.run(self._faces.one(read_at))

    def sol_balance(self, address: str) -> int:
        return self._ask_one("getBalance", [address, _FINALIZED], answers.BALANCE).value

    async def _statuses(self, url: str, signatures: Sequence[str]) -> list[SignatureStatus]:
        params = [list(signatures), _SEARCH_HISTORY]
        found = (await self._ask(url, "getSignatureStatuses", params, answers.STATUSES)).value
        with _reading(url, "getSignatureStatuses"):
            return [
                SignatureStatus(signature, SignatureState.UNKNOWN, None, None)
                if answer is None
                else answer.status(signature)
                for signature, answer in zip(signatures, found, strict=True)
            ]

    def _ask_one(self, method: str, params: list[Any], answer: TypeAdapter[T]) -> T:
        return asyncio.run(self._faces.one(lambda url: self._ask(url, method, params, answer)))

    async def _ask(self, url: str, method: str, params: list[Any], answer: TypeAdapter[T]) -> T:
        request = JsonRpcRequest(method=method, params=params)
        try:
            async with asyncio.timeout(self._timeout), AsyncClient(url, timeout=self._timeout) as client:
                with _reading(url, method):
                    return answer.validate_python(await client.send_rpc_request(request, object))
        except TimeoutError as error:
            raise ChainUnavailable(f"{_host(url)} did not answer {method} in {self._timeout} s") from error
        except SolanaRpcException as error:
            # httpx names the URL in some of its messages, so only the kind of error is passed on
            raise ChainUnavailable(f"{_host(url)}, {method}: {type(error.__cause__).__name__}") from error
        except SolanaJsonRpcError as error:
            kind = ChainRefused if error.code in _REFUSALS else ChainUnavailable
            text = str(error)[:_ERROR_TEXT_MAX]
            raise kind(f"{_host(url)}, {method}: {text} ({error.code})") from error


@contextmanager
def _reading(url: str, method: str) -> Iterator[None]:
    """An answer that makes no sense is no answer."""
    try:
        yield
    except ValueError as error:
        text = str(error)[:_ERROR_TEXT_MAX]
        raise ChainUnavailable(f"{_host(url)}, {method}: the answer cannot be used: {text}") from error


def _base64(wire: bytes) -> str:
    return base64.b64encode(wire).decode()


def _host(url: str) -> str:
    """The URL without what may be secret in it."""
    return urlsplit(url).netloc.rpartition("@")[2] or "the Solana RPC"
