"""What billing needs of a chain: one small synchronous port and the facts that it hands back.

Calls go over the network: make them outside database transactions. Addresses, signatures and blockhashes are
base58 text; amounts are integers in the smallest unit (micro-USDC, lamports).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol

STATUSES_MAX = 256
"""How many signatures one call of `signature_statuses` takes: Solana's own limit."""
ADDRESS_PAGE_MAX = 1000
"""How many signatures one call of `signatures_for_address` gives: Solana's own limit."""


TOKEN_ACCOUNTS_MAX = 100
"""How many owners one call of `missing_token_accounts` takes, and how many accounts one of `holdings`."""


class ChainError(Exception):
    """The chain could not do what was asked."""


class ChainUnavailable(ChainError):
    """No usable answer came: the outcome is unknown, and the same call may be made again."""


class ChainRefused(ChainError):
    """The chain understood the request and refused it: the same call would be refused again."""


class SignatureState(StrEnum):
    """How final a transaction is; UNKNOWN is what the asked RPC has never seen, which is no proof of absence."""

    UNKNOWN = "unknown"
    PROCESSED = "processed"
    CONFIRMED = "confirmed"
    FINALIZED = "finalized"


@dataclass(frozen=True)
class Blockhash:
    """A transaction signed over `value` can land up to and including `last_valid_block_height`, never after."""

    value: str
    last_valid_block_height: int


@dataclass(frozen=True)
class Failure:
    """Why a transaction failed; `instruction` is the index of the failing one, where one is to blame."""

    reason: str
    instruction: int | None


@dataclass(frozen=True)
class Simulation:
    """What a transaction would do now if its blockhash were fresh."""

    failure: Failure | None
    logs: tuple[str, ...]
    compute_units: int | None


@dataclass(frozen=True)
class SignatureStatus:
    signature: str
    state: SignatureState
    slot: int | None
    failure: Failure | None


@dataclass(frozen=True)
class AddressSignature:
    """One line of an address's history."""

    signature: str
    slot: int
    block_time: datetime | None
    memo: str | None
    failed: bool


@dataclass(frozen=True)
class ChainInstruction:
    """A top-level instruction; `accounts` includes Solana Pay references."""

    program: str
    accounts: tuple[str, ...]
    data: bytes


@dataclass(frozen=True)
class TokenTransfer:
    """An SPL token transfer at the top level of a transaction, as it was asked for.

    `mint` is None for the unchecked form, which does not name it; `references` are the extra keys on the instruction.
    """

    instruction: int
    source: str
    destination: str
    mint: str | None
    amount: int
    references: tuple[str, ...]


@dataclass(frozen=True)
class TokenChange:
    """One token account's balance before and after a transaction; an account that did not exist counts 0."""

    account: str
    owner: str
    mint: str
    before: int
    after: int


@dataclass(frozen=True)
class Holding:
    """A token account. owner: empty where there is no token account; delegate: who else may take tokens out of it, up
    to delegated_microusd in all."""

    owner: str = ""
    mint: str = ""
    balance_microusd: int = 0
    delegate: str | None = None
    delegated_microusd: int = 0
    frozen: bool = False


@dataclass(frozen=True)
class ChainTransaction:
    """A transaction. One with a `failure` moved no token, whatever its instructions ask for.

    signers: whose signatures are on it and are right, which is checked here and is no RPC's word.
    """

    signature: str
    slot: int
    block_time: datetime | None
    failure: Failure | None
    fee_lamports: int
    account_keys: tuple[str, ...]
    memos: tuple[str, ...]
    instructions: tuple[ChainInstruction, ...]
    transfers: tuple[TokenTransfer, ...]
    token_changes: tuple[TokenChange, ...]
    signers: frozenset[str] = frozenset()

    def account_delta(self, account: str) -> int:
        """By how much the balance of this token account rose (or fell)."""
        return sum(change.after - change.before for change in self.token_changes if change.account == account)

    def token_delta(self, owner: str, mint: str) -> int:
        """By how much this owner's balance of this mint rose (or fell), over all of the owner's accounts."""
        return sum(c.after - c.before for c in self.token_changes if c.owner == owner and c.mint == mint)


class Chain(Protocol):
    """Every method may raise ChainUnavailable (ask again later) or ChainRefused (do not)."""

    def latest_blockhash(self) -> Blockhash:
        """The newest confirmed one, to sign over."""
        ...

    def finalized_block_height(self) -> int: ...

    def finalized_slot(self) -> int: ...

    def priority_prices(self, accounts: Sequence[str]) -> list[int]:
        """The least that recent blocks took for a compute unit where these are written to, in micro-lamports."""
        ...

    def send(self, wire: bytes) -> str:
        """Hand a signed transaction to the chain and return its signature without waiting for anything.

        The same bytes may be sent again as often as wanted: they execute at most once. An answer does not mean that
        it landed: a transaction that cannot land (expired, fee payer without money) is dropped silently.
        """
        ...

    def simulate(self, wire: bytes) -> Simulation: ...

    def refusal(self, wire: bytes) -> Failure | None:
        """Why simulating it fails at every RPC that answers, two at least; None where they do not say it alike."""
        ...

    def signature_statuses(self, signatures: Sequence[str]) -> list[SignatureStatus]:
        """In the order asked, searched through the whole history; at most STATUSES_MAX."""
        ...

    def finalized_status(self, signature: str) -> SignatureStatus | None:
        """What became of a transaction for good, without its slot; None while that is not certain.

        Certain is what two RPCs at least (the only one, where there is one) say alike, and none otherwise.
        """
        ...

    def is_expired_everywhere(self, signature: str, last_valid_block_height: int) -> bool:
        """Whether this transaction can be proven never to land: only then may its payouts be signed again.

        True only if at two RPCs at least (at the only one, where there is one) the finalized block height has passed
        `last_valid_block_height` and, asked after that, the signature is in no history, and if none of the others
        says otherwise. Raises ChainUnavailable while too few of them answer.
        """
        ...

    def signatures_for_address(
        self,
        address: str,
        *,
        until: str | None = None,
        before: str | None = None,
        limit: int = ADDRESS_PAGE_MAX,
        finalized: bool = True,
    ) -> list[AddressSignature]:
        """Transactions that name the address, newest first, down to but excluding `until`.

        Without `finalized` also those that are confirmed and may still be taken back.

        A token transfer names the token accounts, not the receiving wallet: ask for the associated token account.
        A full page may have left some out above `until`: page on with `before` = the last signature of the page.
        """
        ...

    def read_transaction(self, signature: str, *, finalized: bool = True) -> ChainTransaction | None:
        """A finalized (or else confirmed) transaction; None if there is none yet."""
        ...

    def token_balance(self, owner: str, mint: str) -> int:
        """The finalized balance of the owner's associated token account; 0 if it does not exist."""
        ...

    def missing_token_accounts(self, owners: Sequence[str], mint: str) -> frozenset[str]:
        """Which of these owners have no associated token account, by every RPC that answers and two at least."""
        ...

    def holdings(self, token_accounts: Sequence[str]) -> list[Holding | None]:
        """What is finalized of each, in the order asked, as two RPCs at least show it; None while they do not."""
        ...

    def table_entries(self, address: str) -> tuple[str, ...] | None:
        """The finalized addresses of a lookup table, as two RPCs at least show it; None while they do not."""
        ...

    def sol_balance(self, address: str) -> int:
        """The finalized balance in lamports."""
        ...
