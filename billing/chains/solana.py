"""The chain port over Solana's JSON-RPC: the same code for the local chain and for a real cluster."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from solana.exceptions import SolanaRpcException
from solana.rpc.async_api import AsyncClient
from solana.rpc.commitment import Confirmed, Finalized
from solana.rpc.core import RPCException
from solana.rpc.models import TxOpts
from solders.errors import SerdeJSONError
from solders.pubkey import Pubkey
from solders.rpc.errors import (
    InvalidParamsMessage,
    InvalidRequestMessage,
    MethodNotFoundMessage,
    ParseErrorMessage,
    RpcCustomErrorFieldless,
    SendTransactionPreflightFailureMessage,
    UnsupportedTransactionVersionMessage,
)
from solders.signature import Signature
from solders.token import ID as TOKEN_PROGRAM
from solders.token.associated import get_associated_token_address
from solders.token.state import TokenAccount
from solders.transaction import VersionedTransaction
from solders.transaction_status import TransactionConfirmationStatus, TransactionStatus

from billing.chains.decoding import chain_transaction, failure, moment
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

TRANSACTION_VERSION_MAX: Final = 1
_REFUSALS: Final = (
    InvalidParamsMessage,
    InvalidRequestMessage,
    MethodNotFoundMessage,
    ParseErrorMessage,
    SendTransactionPreflightFailureMessage,
    UnsupportedTransactionVersionMessage,
)
T = TypeVar("T")

# It logs every URL, and RPC providers put the API key into theirs.
logging.getLogger("httpx2").setLevel(logging.WARNING)


class SolanaChain:
    """Reads and writes go to the first URL; what must hold everywhere is asked of all of them.

    Each call runs its own event loop and client, which leaves nothing behind for a forked worker to inherit; it must
    not be made from a thread that runs an event loop.
    """

    def __init__(self, urls: Sequence[str], timeout: float = 10.0) -> None:
        """`timeout`: seconds that one call may take in all."""
        if not urls:
            raise ValueError("no Solana RPC URL given: set GRIDBAY_SOLANA_RPC_URLS")
        for url in urls:
            if urlsplit(url).scheme not in ("http", "https"):
                raise ValueError(f"a Solana RPC URL begins with http:// or https://: {_host(url)}")
        self._urls = tuple(urls)
        self._timeout = timeout

    def latest_blockhash(self) -> Blockhash:
        answer = self._ask_first(lambda client: client.get_latest_blockhash(Confirmed)).value
        return Blockhash(str(answer.blockhash), answer.last_valid_block_height)

    def finalized_block_height(self) -> int:
        return self._ask_first(lambda client: client.get_block_height(Finalized)).value

    def send(self, wire: bytes) -> str:
        signature = VersionedTransaction.from_bytes(wire).signatures[0]
        # Without preflight: the outcome is read from the status, and what was sent before is no error.
        options = TxOpts(skip_confirmation=True, skip_preflight=True)
        answered = self._ask_first(lambda client: client.send_raw_transaction(wire, options)).value
        if answered != signature:
            raise ChainUnavailable(f"{_host(self._urls[0])} answered {answered} for the transaction {signature}")
        return str(signature)

    def simulate(self, wire: bytes) -> Simulation:
        transaction = VersionedTransaction.from_bytes(wire)
        answer = self._ask_first(
            lambda client: client.simulate_transaction(transaction, commitment=Confirmed, replace_recent_blockhash=True)
        ).value
        return Simulation(failure(answer.err), tuple(answer.logs or ()), answer.units_consumed)

    def signature_statuses(self, signatures: Sequence[str]) -> list[SignatureStatus]:
        if len(signatures) > STATUSES_MAX:
            raise ValueError(f"{len(signatures)} signatures in one call: at most {STATUSES_MAX}")
        asked = [Signature.from_string(signature) for signature in signatures]
        if not asked:
            return []
        found = self._ask_first(lambda client: client.get_signature_statuses(asked, search_transaction_history=True))
        return [_status(signature, status) for signature, status in zip(signatures, found.value, strict=True)]

    def is_expired_everywhere(self, signature: str, last_valid_block_height: int) -> bool:
        asked = Signature.from_string(signature)

        async def expired_at(url: str) -> bool:
            # Height first: a transaction that lands between the two questions is then still seen.
            height = await self._ask(url, lambda client: client.get_block_height(Finalized))
            if height.value <= last_valid_block_height:
                return False
            found = await self._ask(
                url, lambda client: client.get_signature_statuses([asked], search_transaction_history=True)
            )
            return found.value[0] is None

        async def everywhere() -> list[bool | BaseException]:
            return await asyncio.gather(*(expired_at(url) for url in self._urls), return_exceptions=True)

        answers = asyncio.run(everywhere())
        if any(answer is False for answer in answers):
            return False
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return True

    def signatures_for_address(
        self, address: str, *, until: str | None = None, before: str | None = None, limit: int = ADDRESS_PAGE_MAX
    ) -> list[AddressSignature]:
        if not 1 <= limit <= ADDRESS_PAGE_MAX:
            raise ValueError(f"a page of {limit} signatures: 1 to {ADDRESS_PAGE_MAX}")
        key = Pubkey.from_string(address)
        newest = None if before is None else Signature.from_string(before)
        oldest = None if until is None else Signature.from_string(until)
        found = self._ask_first(
            lambda client: client.get_signatures_for_address(
                key, before=newest, until=oldest, limit=limit, commitment=Finalized
            )
        ).value
        return [
            AddressSignature(str(f.signature), f.slot, moment(f.block_time), f.memo, failed=f.err is not None)
            for f in found
        ]

    def read_transaction(self, signature: str) -> ChainTransaction | None:
        asked = Signature.from_string(signature)
        found = self._ask_first(
            lambda client: client.get_transaction(
                asked,
                encoding="base64",
                commitment=Finalized,
                max_supported_transaction_version=TRANSACTION_VERSION_MAX,
            )
        ).value
        if found is None:
            return None
        try:
            transaction = chain_transaction(found)
        except ValueError as error:
            raise ChainUnavailable(f"{_host(self._urls[0])}, transaction {signature}: {error}") from error
        if transaction.signature != signature:
            raise ChainUnavailable(f"{_host(self._urls[0])} answered {transaction.signature} for {signature}")
        return transaction

    def token_balance(self, owner: str, mint: str) -> int:
        mint_key = Pubkey.from_string(mint)
        address = get_associated_token_address(Pubkey.from_string(owner), mint_key)
        found = self._ask_first(lambda client: client.get_account_info(address, Finalized, encoding="base64")).value
        if found is None or found.owner != TOKEN_PROGRAM:
            return 0
        return TokenAccount.from_bytes(found.data).amount

    def sol_balance(self, address: str) -> int:
        key = Pubkey.from_string(address)
        return self._ask_first(lambda client: client.get_balance(key, Finalized)).value

    def _ask_first(self, call: Callable[[AsyncClient], Awaitable[T]]) -> T:
        return asyncio.run(self._ask(self._urls[0], call))

    async def _ask(self, url: str, call: Callable[[AsyncClient], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(self._timeout), AsyncClient(url, timeout=self._timeout) as client:
                answer = await call(client)
        except TimeoutError as error:
            raise ChainUnavailable(f"{_host(url)} did not answer within {self._timeout} s") from error
        except SolanaRpcException as error:
            raise ChainUnavailable(f"{_host(url)}: {type(error.__cause__).__name__}, {error}") from error
        except RPCException as error:
            raise _refusal(url, error.args[0]) from error
        except (ValueError, SerdeJSONError) as error:
            raise ChainUnavailable(f"{_host(url)} gave an answer that cannot be read: {error}") from error
        if isinstance(answer, int):
            # solders gives the bare code of an error that it does not know, a provider's rate limit for one
            raise ChainUnavailable(f"{_host(url)} answered with the error {answer}")
        return answer


def _refusal(url: str, error: Any) -> ChainRefused | ChainUnavailable:
    refused = isinstance(error, _REFUSALS) or (error == RpcCustomErrorFieldless.TransactionSignatureVerificationFailure)
    return (ChainRefused if refused else ChainUnavailable)(f"{_host(url)}: {error}")


def _status(signature: str, status: TransactionStatus | None) -> SignatureStatus:
    if status is None:
        return SignatureStatus(signature, SignatureState.UNKNOWN, None, None)
    match status.confirmation_status:
        case TransactionConfirmationStatus.Finalized:
            state = SignatureState.FINALIZED
        case TransactionConfirmationStatus.Confirmed:
            state = SignatureState.CONFIRMED
        case _:
            state = SignatureState.PROCESSED
    return SignatureStatus(signature, state, status.slot, failure(status.err))


def _host(url: str) -> str:
    """The URL without what may be secret in it."""
    return urlsplit(url).netloc.rpartition("@")[2] or "the Solana RPC"
