"""From solders' view of an RPC answer to the port's: what moved, for whom, with which memos and references."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from solders.instruction import CompiledInstruction
from solders.pubkey import Pubkey
from solders.token import ID as TOKEN_PROGRAM
from solders.transaction import VersionedTransaction
from solders.transaction_status import (
    EncodedConfirmedTransactionWithStatusMeta,
    TransactionErrorInstructionError,
    TransactionErrorType,
    UiTransactionStatusMeta,
    UiTransactionTokenBalance,
)

from billing.chains.port import (
    ChainInstruction,
    ChainTransaction,
    Failure,
    TokenChange,
    TokenTransfer,
)
from billing.chains.transactions import MEMO_PROGRAM, TRANSFER, TRANSFER_CHECKED

MEMO_V1_PROGRAM: Final = Pubkey.from_string("Memo1UhkJRfHyvLMcVucJwxXeuD728EqVDDwQDxFMNo")


def failure(error: TransactionErrorType | None) -> Failure | None:
    """The error in few words: `InsufficientFundsForFee`, or `Custom(1)` of an instruction."""
    if error is None:
        return None
    if isinstance(error, TransactionErrorInstructionError):
        return Failure(_words(error.err), error.index)
    return Failure(_words(error), None)


def moment(unix_time: int | None) -> datetime | None:
    return None if unix_time is None else datetime.fromtimestamp(unix_time, UTC)


def chain_transaction(answer: EncodedConfirmedTransactionWithStatusMeta) -> ChainTransaction:
    """From an answer asked for as base64. Raises ValueError if it is incomplete."""
    signed, meta = answer.transaction.transaction, answer.transaction.meta
    if not isinstance(signed, VersionedTransaction) or meta is None:
        raise ValueError("the answer holds no transaction in base64, or no metadata")
    message = signed.message
    loaded = meta.loaded_addresses
    keys = [*message.account_keys, *(loaded.writable if loaded else ()), *(loaded.readonly if loaded else ())]
    instructions = tuple(_instruction(i, keys) for i in message.instructions)
    memo_programs = (str(MEMO_PROGRAM), str(MEMO_V1_PROGRAM))
    return ChainTransaction(
        signature=str(signed.signatures[0]),
        slot=answer.slot,
        block_time=moment(answer.block_time),
        failure=failure(meta.err),
        fee_lamports=meta.fee,
        account_keys=tuple(str(key) for key in keys),
        memos=tuple(i.data.decode("utf-8", "replace") for i in instructions if i.program in memo_programs),
        instructions=instructions,
        transfers=tuple(t for n, i in enumerate(instructions) if (t := token_transfer(n, i)) is not None),
        token_changes=_token_changes(meta, keys),
    )


def token_transfer(index: int, instruction: ChainInstruction) -> TokenTransfer | None:
    """The instruction as a transfer of the SPL Token program, if it is one."""
    data, accounts = instruction.data, instruction.accounts
    if instruction.program != str(TOKEN_PROGRAM) or len(data) < 9:
        return None
    amount = int.from_bytes(data[1:9], "little")
    if data[0] == TRANSFER_CHECKED and len(accounts) >= 4:
        source, mint, destination = accounts[:3]
        return TokenTransfer(index, source, destination, mint, amount, accounts[4:])
    if data[0] == TRANSFER and len(accounts) >= 3:
        source, destination = accounts[:2]
        return TokenTransfer(index, source, destination, None, amount, accounts[3:])
    return None


def _words(error: object) -> str:
    return str(error).removeprefix("InstructionError").removeprefix("TransactionError").removeprefix("Fieldless.")


def _instruction(compiled: CompiledInstruction, keys: Sequence[Pubkey]) -> ChainInstruction:
    return ChainInstruction(
        program=str(keys[compiled.program_id_index]),
        accounts=tuple(str(keys[index]) for index in compiled.accounts),
        data=compiled.data,
    )


def _token_changes(meta: UiTransactionStatusMeta, keys: Sequence[Pubkey]) -> tuple[TokenChange, ...]:
    before, after = _by_account(meta.pre_token_balances), _by_account(meta.post_token_balances)
    changes = []
    for index in sorted(before.keys() | after.keys()):
        known = after.get(index) or before[index]
        changes.append(
            TokenChange(
                account=str(keys[index]),
                owner=str(known.owner),
                mint=str(known.mint),
                before=_amount(before.get(index)),
                after=_amount(after.get(index)),
            )
        )
    return tuple(changes)


def _by_account(
    balances: Sequence[UiTransactionTokenBalance] | None,
) -> dict[int, UiTransactionTokenBalance]:
    return {balance.account_index: balance for balance in balances or ()}


def _amount(balance: UiTransactionTokenBalance | None) -> int:
    return 0 if balance is None else int(balance.ui_token_amount.amount)
