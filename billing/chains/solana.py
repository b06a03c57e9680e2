"""The chain port over Solana's JSON-RPC: the same code for the local chain and for a real cluster."""

import base64
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from pydantic import TypeAdapter
from solders.transaction import VersionedTransaction

from billing.chains import answers
from billing.chains.faces import Faces
from billing.chains.port import (
    ADDRESS_PAGE_MAX,
    STATUSES_MAX,
    TOKEN_ACCOUNTS_MAX,
    AddressSignature,
    Blockhash,
    ChainTransaction,
    Failure,
    Holding,
    SignatureState,
    SignatureStatus,
    Simulation,
)
from billing.chains.rpc import Rpc, host, reading
from billing.chains.transactions import associated_token_address

TRANSACTION_VERSION_MAX: Final = 1
_CONFIRMED: Final = {"commitment": "confirmed"}
_FINALIZED: Final = {"commitment": "finalized"}
_SIMULATE: Final = {"encoding": "base64", "replaceRecentBlockhash": True} | _CONFIRMED
_SEARCH_HISTORY: Final = {"searchTransactionHistory": True}
T = TypeVar("T")


class SolanaChain:
    """Reads go to one face and fail over to the next, sends go to all; what is not there, two must say.

    It must not be called from a thread that runs an event loop. A forked worker inherits no connection.
    """

    def __init__(self, urls: Sequence[str], timeout: float = 10.0, rpc: Rpc | None = None) -> None:
        """`timeout`: seconds that one question to one RPC may take in all. rpc: how to ask, HTTP without it."""
        if not urls:
            raise ValueError("no Solana RPC URL given: set GRIDBAY_SOLANA_RPC_URLS")
        for url in urls:
            if urlsplit(url).scheme not in ("http", "https"):
                raise ValueError(f"a Solana RPC URL begins with http:// or https://: {host(url)}")
        self._faces = Faces(urls)
        self._rpc = rpc or Rpc(timeout)

    def latest_blockhash(self) -> Blockhash:
        answer = self._ask_one("getLatestBlockhash", [_CONFIRMED], answers.BLOCKHASH).value
        return Blockhash(answer.blockhash, answer.last_valid_block_height)

    def finalized_slot(self) -> int:
        return self._ask_one("getSlot", [_FINALIZED], answers.NUMBER)

    def priority_prices(self, accounts: Sequence[str]) -> list[int]:
        lines = self._ask_one("getRecentPrioritizationFees", [list(accounts)], answers.FEES)
        return [line.unit_price for line in lines]

    def finalized_block_height(self) -> int:
        return self._ask_one("getBlockHeight", [_FINALIZED], answers.NUMBER)

    def send(self, wire: bytes) -> str:
        signature = str(VersionedTransaction.from_bytes(wire).signatures[0])
        # Without preflight: the outcome is read from the status, and what was sent before is no error.
        options = {"encoding": "base64", "skipPreflight": True}

        async def tell(url: str) -> str:
            answered = await self._rpc.ask(url, "sendTransaction", [_base64(wire), options], answers.TEXT)
            with reading(url, "sendTransaction"):
                if answered != signature:
                    raise ValueError(f"it is about {answered}, not {signature}")
            return signature

        return self._rpc.run(self._faces.all(tell))

    def simulate(self, wire: bytes) -> Simulation:
        answer = self._ask_one("simulateTransaction", [_base64(wire), _SIMULATE], answers.SIMULATION).value
        return Simulation(answers.failure(answer.err), tuple(answer.logs or ()), answer.units_consumed)

    def refusal(self, wire: bytes) -> Failure | None:
        async def refusal_at(url: str) -> Failure | None:
            params = [_base64(wire), _SIMULATE]
            return answers.failure(
                (await self._rpc.ask(url, "simulateTransaction", params, answers.SIMULATION)).value.err
            )

        said = self._rpc.run(self._faces.witnesses(refusal_at))
        return said[0] if all(failure == said[0] for failure in said) else None

    def signature_statuses(self, signatures: Sequence[str]) -> list[SignatureStatus]:
        if len(signatures) > STATUSES_MAX:
            raise ValueError(f"{len(signatures)} signatures in one call: at most {STATUSES_MAX}")
        if not signatures:
            return []
        return self._rpc.run(self._faces.one(lambda url: self._statuses(url, signatures)))

    def finalized_status(self, signature: str) -> SignatureStatus | None:
        async def verdict_at(url: str) -> SignatureStatus | None:
            (status,) = await self._statuses(url, [signature])
            # The slot is no part of what must be agreed on.
            return replace(status, slot=None) if status.state is SignatureState.FINALIZED else None

        return self._rpc.run(self._faces.verdict(verdict_at))

    def is_expired_everywhere(self, signature: str, last_valid_block_height: int) -> bool:
        async def expired_at(url: str) -> bool:
            # Height first: a transaction that lands between the two questions is then still seen.
            if await self._rpc.ask(url, "getBlockHeight", [_FINALIZED], answers.NUMBER) <= last_valid_block_height:
                return False
            (status,) = await self._statuses(url, [signature])
            return status.state == SignatureState.UNKNOWN

        return self._rpc.run(self._faces.agree(expired_at))

    def signatures_for_address(
        self,
        address: str,
        *,
        until: str | None = None,
        before: str | None = None,
        limit: int = ADDRESS_PAGE_MAX,
        finalized: bool = True,
    ) -> list[AddressSignature]:
        if not 1 <= limit <= ADDRESS_PAGE_MAX:
            raise ValueError(f"a page of {limit} signatures: 1 to {ADDRESS_PAGE_MAX}")
        options: dict[str, Any] = {"limit": limit} | (_FINALIZED if finalized else _CONFIRMED)
        options |= {name: at for name, at in (("until", until), ("before", before)) if at is not None}
        lines = self._ask_one("getSignaturesForAddress", [address, options], answers.LINES)
        return [line.line() for line in lines]

    def read_transaction(self, signature: str, *, finalized: bool = True) -> ChainTransaction | None:
        version = {"maxSupportedTransactionVersion": TRANSACTION_VERSION_MAX}
        options = {"encoding": "base64"} | version | (_FINALIZED if finalized else _CONFIRMED)

        async def read_at(url: str) -> ChainTransaction | None:
            answer = await self._rpc.ask(url, "getTransaction", [signature, options], answers.TRANSACTION)
            if answer is None:
                return None
            with reading(url, "getTransaction"):
                transaction = answer.read()
                if transaction.signature != signature:
                    raise ValueError(f"it is about {transaction.signature}, not {signature}")
            return transaction

        return self._rpc.run(self._faces.one(read_at))

    def token_balance(self, owner: str, mint: str) -> int:
        options = {"encoding": "base64"} | _FINALIZED
        address = associated_token_address(owner, mint)

        async def read_at(url: str) -> int:
            account = (await self._rpc.ask(url, "getAccountInfo", [address, options], answers.ACCOUNT)).value
            with reading(url, "getAccountInfo"):
                return 0 if account is None else account.token_amount()

        return self._rpc.run(self._faces.one(read_at))

    def missing_token_accounts(self, owners: Sequence[str], mint: str) -> frozenset[str]:
        if len(owners) > TOKEN_ACCOUNTS_MAX:
            raise ValueError(f"{len(owners)} owners in one call: at most {TOKEN_ACCOUNTS_MAX}")
        addresses = [associated_token_address(owner, mint) for owner in owners]
        options = {"encoding": "base64"} | _FINALIZED

        async def missing_at(url: str) -> frozenset[str]:
            found = (await self._rpc.ask(url, "getMultipleAccounts", [addresses, options], answers.ACCOUNTS)).value
            with reading(url, "getMultipleAccounts"):
                pairs = list(zip(owners, found, strict=True))
            return frozenset(owner for owner, account in pairs if account is None or not account.is_token_account())

        return frozenset.intersection(*self._rpc.run(self._faces.witnesses(missing_at)))

    def holdings(self, token_accounts: Sequence[str]) -> list[Holding | None]:
        if len(token_accounts) > TOKEN_ACCOUNTS_MAX:
            raise ValueError(f"{len(token_accounts)} accounts in one call: at most {TOKEN_ACCOUNTS_MAX}")
        if not token_accounts:
            return []
        params = [list(token_accounts), {"encoding": "base64"} | _FINALIZED]

        async def holdings_at(url: str) -> list[Holding]:
            found = (await self._rpc.ask(url, "getMultipleAccounts", params, answers.ACCOUNTS)).value
            with reading(url, "getMultipleAccounts"):
                pairs = zip(token_accounts, found, strict=True)
                return [Holding() if account is None else account.holding() for _, account in pairs]

        said = self._rpc.run(self._faces.witnesses(holdings_at))
        return [each[0] if all(other == each[0] for other in each) else None for each in zip(*said, strict=True)]

    def table_entries(self, address: str) -> tuple[str, ...] | None:
        options = {"encoding": "base64"} | _FINALIZED

        async def entries_at(url: str) -> tuple[str, ...] | None:
            account = (await self._rpc.ask(url, "getAccountInfo", [address, options], answers.ACCOUNT)).value
            with reading(url, "getAccountInfo"):
                return None if account is None else account.table_entries()

        return self._rpc.run(self._faces.verdict(entries_at))

    def sol_balance(self, address: str) -> int:
        return self._ask_one("getBalance", [address, _FINALIZED], answers.BALANCE).value

    async def _statuses(self, url: str, signatures: Sequence[str]) -> list[SignatureStatus]:
        params = [list(signatures), _SEARCH_HISTORY]
        found = (await self._rpc.ask(url, "getSignatureStatuses", params, answers.STATUSES)).value
        with reading(url, "getSignatureStatuses"):
            return [
                SignatureStatus(signature, SignatureState.UNKNOWN, None, None)
                if answer is None
                else answer.status(signature)
                for signature, answer in zip(signatures, found, strict=True)
            ]

    def _ask_one(self, method: str, params: list[Any], answer: TypeAdapter[T]) -> T:
        return self._rpc.run(self._faces.one(lambda url: self._rpc.ask(url, method, params, answer)))


def _base64(wire: bytes) -> str:
    return base64.b64encode(wire).decode()
