"""The parts of Solana's RPC answers that billing reads, checked as they come in, and their way into the port's facts.

Our own models and not solders' classes: those panic, or take an error for an answer, at some of what RPC providers
send in practice.
"""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Generic, Literal, TypeVar

from pydantic import BaseModel, Field, TypeAdapter
from solders.instruction import CompiledInstruction
from solders.token import ID as TOKEN_PROGRAM
from solders.token.state import TokenAccount, TokenAccountState
from solders.transaction import VersionedTransaction

from billing.chains.lookup_tables import TABLE_PROGRAM, read_table
from billing.chains.port import (
    AddressSignature,
    ChainInstruction,
    ChainTransaction,
    Failure,
    Holding,
    SignatureState,
    SignatureStatus,
    TokenChange,
    TokenTransfer,
)
from billing.chains.transactions import MEMO_PROGRAM, TRANSFER, TRANSFER_CHECKED
from market.money import MICROUSD_MAX

TOKEN_ACCOUNT_BYTES: Final = 165
MEMO_V1_PROGRAM: Final = "Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo"

T = TypeVar("T")
U64 = Annotated[int, Field(strict=True, ge=0, lt=2**64)]
UnixTime = Annotated[int, Field(strict=True, ge=0, lt=253_402_300_800)]  # the years that datetime has
Base64 = tuple[str, Literal["base64"]]


class InContext(BaseModel, Generic[T]):
    """What the RPC wraps most answers in."""

    value: T


class BlockhashAnswer(BaseModel):
    blockhash: str
    last_valid_block_height: U64 = Field(alias="lastValidBlockHeight")


class SimulationAnswer(BaseModel):
    err: Any
    logs: list[str] | None = None
    units_consumed: U64 | None = Field(None, alias="unitsConsumed")


class StatusAnswer(BaseModel):
    slot: U64
    err: Any
    confirmation_status: Literal["processed", "confirmed", "finalized"] | None = Field(alias="confirmationStatus")

    def status(self, signature: str) -> SignatureStatus:
        state = SignatureState(self.confirmation_status or "processed")
        return SignatureStatus(signature, state, self.slot, failure(self.err))


class AddressLine(BaseModel):
    signature: str
    slot: U64
    err: Any
    memo: str | None
    block_time: UnixTime | None = Field(alias="blockTime")

    def line(self) -> AddressSignature:
        failed = self.err is not None
        return AddressSignature(self.signature, self.slot, _moment(self.block_time), self.memo, failed)


class AccountAnswer(BaseModel):
    owner: str
    data: Base64

    def token_amount(self) -> int:
        """What the account holds; raises ValueError if it is a token account and cannot be read."""
        # lamports sent to the address before the account was made leave an account that is no token account
        if not self.is_token_account():
            return 0
        return TokenAccount.from_bytes(base64.b64decode(self.data[0], validate=True)).amount

    def holding(self) -> Holding:
        """Amounts beyond what the market counts to are told as that. Raises ValueError for what is no base64."""
        data = base64.b64decode(self.data[0], validate=True)
        # The token program owns mints and multisigs as well.
        if not self.is_token_account() or len(data) != TOKEN_ACCOUNT_BYTES:
            return Holding()
        token = TokenAccount.from_bytes(data)
        return Holding(
            owner=str(token.owner),
            mint=str(token.mint),
            balance_microusd=min(token.amount, MICROUSD_MAX),
            delegate=str(token.delegate) if token.delegate is not None else None,
            delegated_microusd=min(token.delegated_amount, MICROUSD_MAX),
            frozen=token.state == TokenAccountState.Frozen,
        )

    def is_token_account(self) -> bool:
        return self.owner == str(TOKEN_PROGRAM)

    def table_entries(self) -> tuple[str, ...]:
        """The addresses of a lookup table; raises ValueError for what is none."""
        if self.owner != str(TABLE_PROGRAM):
            raise ValueError("it is no lookup table")
        return read_table(base64.b64decode(self.data[0], validate=True))


class FeeLine(BaseModel):
    unit_price: U64 = Field(alias="prioritizationFee")


class TokenAmount(BaseModel):
    amount: Annotated[int, Field(ge=0, lt=2**64)]


class TokenBalanceAnswer(BaseModel):
    account_index: U64 = Field(alias="accountIndex")
    mint: str
    owner: str
    amount: TokenAmount = Field(alias="uiTokenAmount")


class LoadedAddresses(BaseModel):
    writable: list[str] = []
    readonly: list[str] = []


class MetaAnswer(BaseModel):
    err: Any
    fee: U64
    before: list[TokenBalanceAnswer] = Field(alias="preTokenBalances")
    after: list[TokenBalanceAnswer] = Field(alias="postTokenBalances")
    loaded: LoadedAddresses | None = Field(None, alias="loadedAddresses")


class TransactionAnswer(BaseModel):
    slot: U64
    block_time: UnixTime | None = Field(alias="blockTime")
    transaction: Base64
    meta: MetaAnswer

    def read(self) -> ChainTransaction:
        """Raises ValueError if the parts do not fit together."""
        signed = VersionedTransaction.from_bytes(base64.b64decode(self.transaction[0], validate=True))
        loaded = self.meta.loaded or LoadedAddresses()
        keys = (*map(str, signed.message.account_keys), *loaded.writable, *loaded.readonly)
        try:
            instructions = tuple(_instruction(each, keys) for each in signed.message.instructions)
            token_changes = _token_changes(self.meta, keys)
        except IndexError as error:
            raise ValueError("it refers to an account that it does not name") from error
        memo_programs = (str(MEMO_PROGRAM), MEMO_V1_PROGRAM)
        return ChainTransaction(
            signature=str(signed.signatures[0]),
            slot=self.slot,
            block_time=_moment(self.block_time),
            failure=failure(self.meta.err),
            fee_lamports=self.meta.fee,
            account_keys=keys,
            memos=tuple(i.data.decode("utf-8", "replace") for i in instructions if i.program in memo_programs),
            instructions=instructions,
            transfers=tuple(t for n, i in enumerate(instructions) if (t := _transfer(n, i)) is not None),
            token_changes=token_changes,
            signers=_signers(signed),
        )


NUMBER: TypeAdapter[int] = TypeAdapter(U64)
TEXT: TypeAdapter[str] = TypeAdapter(str)
BLOCKHASH = TypeAdapter(InContext[BlockhashAnswer])
SIMULATION = TypeAdapter(InContext[SimulationAnswer])
STATUSES = TypeAdapter(InContext[list[StatusAnswer | None]])
LINES = TypeAdapter(list[AddressLine])
TRANSACTION: TypeAdapter[TransactionAnswer | None] = TypeAdapter(TransactionAnswer | None)
ACCOUNT = TypeAdapter(InContext[AccountAnswer | None])
ACCOUNTS = TypeAdapter(InContext[list[AccountAnswer | None]])
FEES = TypeAdapter(list[FeeLine])
BALANCE = TypeAdapter(InContext[U64])


def failure(error: Any) -> Failure | None:
    """Solana's error in few words: `InsufficientFundsForFee`, or `Custom 1` of an instruction."""
    match error:
        case None:
            return None
        case {"InstructionError": [int(index), reason]}:
            return Failure(_words(reason), index)
        case _:
            return Failure(_words(error), None)


def _words(reason: Any) -> str:
    if isinstance(reason, dict):
        return ", ".join(f"{name} {_words(value)}" for name, value in reason.items())
    return str(reason)


def _moment(unix_time: int | None) -> datetime | None:
    return None if unix_time is None else datetime.fromtimestamp(unix_time, UTC)


def _instruction(compiled: CompiledInstruction, keys: Sequence[str]) -> ChainInstruction:
    accounts = tuple(keys[index] for index in compiled.accounts)
    return ChainInstruction(keys[compiled.program_id_index], accounts, compiled.data)


def _signers(transaction: VersionedTransaction) -> frozenset[str]:
    verified = transaction.verify_with_results()
    return frozenset(str(key) for key, right in zip(transaction.message.account_keys, verified, strict=False) if right)


def _transfer(index: int, instruction: ChainInstruction) -> TokenTransfer | None:
    data, accounts = instruction.data, instruction.accounts
    if instruction.program != str(TOKEN_PROGRAM) or len(data) < 9:
        return None
    amount = int.from_bytes(data[1:9], "little")
    if data[0] == TRANSFER_CHECKED and len(accounts) >= 4:
        return TokenTransfer(index, accounts[0], accounts[2], accounts[1], amount, references=accounts[4:])
    if data[0] == TRANSFER and len(accounts) >= 3:
        return TokenTransfer(index, accounts[0], accounts[1], None, amount, references=accounts[3:])
    return None


def _token_changes(meta: MetaAnswer, keys: Sequence[str]) -> tuple[TokenChange, ...]:
    before = {balance.account_index: balance for balance in meta.before}
    after = {balance.account_index: balance for balance in meta.after}
    changes = []
    for index in sorted(before.keys() | after.keys()):
        known = after.get(index) or before[index]
        was = before[index].amount.amount if index in before else 0
        now = after[index].amount.amount if index in after else 0
        changes.append(TokenChange(keys[index], known.owner, known.mint, was, now))
    return tuple(changes)
