"""The Solana runtime (LiteSVM) as the local chain uses it: run a transaction, tell exactly what it changed.

Signatures, blockhashes and duplicates are judged by the chain, not here: LiteSVM's own rules for them differ from
a cluster's.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from solders.account import Account
from solders.address_lookup_table_account import AddressLookupTable
from solders.clock import Clock
from solders.hash import Hash
from solders.litesvm import LiteSVM
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.token import ID as TOKEN_PROGRAM
from solders.token.state import Mint, TokenAccount
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import FailedTransactionMetadata, TransactionMetadata

_TOKEN_ACCOUNT_BYTES: Final = 165
_NOWHERE: Final = Account(0, b"", Pubkey.default())
_SLOTS_PER_EPOCH: Final = 432_000
_SLOT_HASHES: Final = 512

AccountsByKey = dict[Pubkey, Account | None]


@dataclass(frozen=True)
class Loaded:
    """What a transaction names through lookup tables. Its keys come after the static ones, the writable first."""

    writable: tuple[Pubkey, ...] = ()
    readonly: tuple[Pubkey, ...] = ()


@dataclass(frozen=True)
class TokenBalance:
    account_index: int
    mint: Pubkey
    owner: Pubkey
    amount: int
    decimals: int


@dataclass(frozen=True)
class Outcome:
    """What one transaction did. `landed` is false if not even its fee could be taken: such a one is in no block."""

    landed: bool
    error: Any
    """None, or the error as JSON values, in the RPC's form."""
    metadata: TransactionMetadata
    keys: list[Pubkey]
    loaded: "Loaded"
    before: AccountsByKey
    after: AccountsByKey
    tokens_before: list[TokenBalance]
    tokens_after: list[TokenBalance]

    def changed(self) -> list[tuple[Pubkey, Account | None]]:
        return [(key, account) for key, account in self.after.items() if account != self.before[key]]

    def replaced(self) -> AccountsByKey:
        """What it changed, as it was before."""
        return {key: self.before[key] for key, _ in self.changed()}


class Runtime:
    """Not safe for several threads at once: the chain calls it under its lock."""

    def __init__(self, accounts: Iterable[tuple[Pubkey, Account]]) -> None:
        svm = LiteSVM().with_sigverify(False).with_blockhash_check(False)
        # No history of its own: it would grow without bound, and the store has it.
        self._svm = svm.with_transaction_history(0)
        self._slot = 0
        for key, account in accounts:
            self._svm.set_account(key, account)

    def account(self, key: Pubkey) -> Account | None:
        return self._svm.get_account(key)

    def rent_exempt_minimum(self, data_bytes: int) -> int:
        return self._svm.minimum_balance_for_rent_exemption(data_bytes)

    def run(self, transaction: VersionedTransaction, *, slot: int, unix_time: int) -> Outcome:
        """Execute for good. The caller undoes it with `restore` if it cannot be kept."""
        loaded = self._loaded(transaction)
        keys = [*transaction.message.account_keys, *loaded.writable, *loaded.readonly]
        before = {key: self.account(key) for key in keys}
        tokens_before = self._token_balances(keys, before)
        self._set_time(slot, unix_time)
        result = self._svm.send_transaction(transaction)
        after = {key: self.account(key) for key in keys}
        error, metadata = _error_and_metadata(result)
        return Outcome(
            # LiteSVM gives the signature only of what it ran, as opposed to what it refused to load.
            landed=metadata.signature() != Signature.default(),
            error=error,
            metadata=metadata,
            keys=keys,
            loaded=loaded,
            before=before,
            after=after,
            tokens_before=tokens_before,
            tokens_after=self._token_balances(keys, after),
        )

    def restore(self, before: Iterable[tuple[Pubkey, Account | None]]) -> None:
        """Make these accounts what they were (None: absent)."""
        for key, account in before:
            self._svm.set_account(key, account or _NOWHERE)

    def simulate(
        self, transaction: VersionedTransaction, *, slot: int, unix_time: int
    ) -> tuple[Any, TransactionMetadata]:
        """The error (None if it would succeed) and what running it would have reported; changes nothing."""
        self._set_time(slot, unix_time)
        result = self._svm.simulate_transaction(transaction)
        if isinstance(result, FailedTransactionMetadata):
            return _error_and_metadata(result)
        return None, result.meta()

    def _loaded(self, transaction: VersionedTransaction) -> Loaded:
        """Empty where a table is missing or too short: such a transaction does not land."""
        message = transaction.message
        if not isinstance(message, MessageV0):
            return Loaded()
        writable: list[Pubkey] = []
        readonly: list[Pubkey] = []
        for lookup in message.address_table_lookups:
            account = self.account(lookup.account_key)
            try:
                addresses = AddressLookupTable.deserialize(account.data if account else b"").addresses
                writable += [addresses[index] for index in lookup.writable_indexes]
                readonly += [addresses[index] for index in lookup.readonly_indexes]
            except (ValueError, IndexError):
                return Loaded()
        return Loaded(tuple(writable), tuple(readonly))

    def _set_time(self, slot: int, unix_time: int) -> None:
        if slot != self._slot:
            # What proves a slot recent to the lookup table program; no program here looks at the hashes.
            self._svm.set_slot_hashes([(past, Hash.default()) for past in range(slot - 1, slot - _SLOT_HASHES - 1, -1)])
            self._slot = slot
        epoch = slot // _SLOTS_PER_EPOCH
        self._svm.set_clock(
            Clock(
                slot=slot,
                epoch_start_timestamp=0,
                epoch=epoch,
                leader_schedule_epoch=epoch + 1,
                unix_timestamp=unix_time,
            )
        )

    def _token_balances(self, keys: list[Pubkey], accounts: AccountsByKey) -> list[TokenBalance]:
        balances = []
        for index, key in enumerate(keys):
            token = token_account(accounts[key])
            if token is not None:
                decimals = self.decimals(token.mint)
                balances.append(TokenBalance(index, token.mint, token.owner, token.amount, decimals))
        return balances

    def decimals(self, mint: Pubkey) -> int:
        account = self.account(mint)
        return 0 if account is None else Mint.from_bytes(account.data).decimals


def token_account(account: Account | None) -> TokenAccount | None:
    """The account as one of the Token program, if it is one."""
    if account is None or account.owner != TOKEN_PROGRAM or len(account.data) != _TOKEN_ACCOUNT_BYTES:
        return None
    try:
        return TokenAccount.from_bytes(account.data)
    except ValueError:
        # room made for a token account, and nobody has initialized it
        return None


def _error_and_metadata(
    result: TransactionMetadata | FailedTransactionMetadata,
) -> tuple[Any, TransactionMetadata]:
    if isinstance(result, FailedTransactionMetadata):
        return json.loads(result.to_json())["err"], result.meta()
    return None, result
