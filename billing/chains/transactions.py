"""The Solana transactions Gridbay signs: epoch anchors, deposits, new token accounts, and what payments are made of.

Pure: no network, no clock. Instruction layouts are those of the SPL Token, Associated Token Account and Memo
programs; a deposit has the shape of Solana Pay's transfer request.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM_PROGRAM
from solders.token import ID as TOKEN_PROGRAM
from solders.token.associated import get_associated_token_address
from solders.transaction import VersionedTransaction

from billing.chains.port import ChainError

USDC_DECIMALS: Final = 6
WIRE_BYTES_MAX: Final = 1232
AMOUNT_MAX: Final = 2**64 - 1

MEMO_PROGRAM: Final = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
ASSOCIATED_TOKEN_PROGRAM: Final = Pubkey.from_string("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")

# Token instruction numbers and associated-token instruction numbers, from the programs' sources.
TRANSFER: Final = 3
TRANSFER_CHECKED: Final = 12
APPROVE: Final = 4
APPROVE_CHECKED: Final = 13
REVOKE: Final = 5
_CREATE_IDEMPOTENT: Final = b"\x01"


class TransactionTooLarge(ChainError):
    """The transaction does not fit Solana's packet: put fewer payments or a shorter memo into it."""


@dataclass(frozen=True)
class SignedTransaction:
    """What is stored before it is sent; `wire` always sends the same transaction, known by `signature`."""

    wire: bytes
    signature: str


def associated_token_address(owner: str, mint: str) -> str:
    """Where a wallet keeps its tokens of a mint."""
    return str(get_associated_token_address(Pubkey.from_string(owner), Pubkey.from_string(mint)))


def memo_anchor(
    *, payer: Keypair, memo: str, blockhash: str, priority: Sequence[Instruction] = ()
) -> SignedTransaction:
    """Text alone, on the chain under the payer's signature: the root of an epoch."""
    return sign([memo_instruction(memo), *priority], payer=payer, blockhash=blockhash)


def deposit(
    *,
    payer: Keypair,
    treasury: str,
    mint: str,
    amount_microusd: int,
    memo: str,
    reference: str,
    blockhash: str,
) -> SignedTransaction:
    """A customer's transfer to the treasury; `reference` is the key by which the chain finds it again."""
    references = [Pubkey.from_string(reference)]
    transfer = transfer_instruction(payer.pubkey(), Pubkey.from_string(mint), treasury, amount_microusd, references)
    # Solana Pay: the memo comes right before the transfer, and the transfer last.
    return sign([memo_instruction(memo), transfer], payer=payer, blockhash=blockhash)


def create_token_account(*, payer: Keypair, owner: str, mint: str, blockhash: str) -> SignedTransaction:
    """The owner's associated token account, at the payer's cost; nothing happens if it exists."""
    instruction = create_token_account_instruction(
        payer=payer.pubkey(), owner=Pubkey.from_string(owner), mint=Pubkey.from_string(mint)
    )
    return sign([instruction], payer=payer, blockhash=blockhash)


def approve(
    *,
    owner: Keypair,
    token_account: str,
    mint: str,
    delegate: str,
    amount_microusd: int,
    memo: str | None,
    blockhash: str,
) -> SignedTransaction:
    """The owner lets the delegate take up to that much in all; it takes the place of what was approved before.

    Raises ValueError for a wrong amount.
    """
    if not 0 < amount_microusd <= AMOUNT_MAX:
        raise ValueError(f"an approval of {amount_microusd} micro-USDC: it must be 1 to {AMOUNT_MAX}")
    instruction = Instruction(
        TOKEN_PROGRAM,
        bytes([APPROVE_CHECKED]) + amount_microusd.to_bytes(8, "little") + bytes([USDC_DECIMALS]),
        [
            AccountMeta(Pubkey.from_string(token_account), is_signer=False, is_writable=True),
            AccountMeta(Pubkey.from_string(mint), is_signer=False, is_writable=False),
            AccountMeta(Pubkey.from_string(delegate), is_signer=False, is_writable=False),
            AccountMeta(owner.pubkey(), is_signer=True, is_writable=False),
        ],
    )
    memos = [memo_instruction(memo)] if memo is not None else []
    return sign([*memos, instruction], payer=owner, blockhash=blockhash)


def revoke(*, owner: Keypair, token_account: str, blockhash: str) -> SignedTransaction:
    """Nobody but the owner may take anything any more."""
    instruction = Instruction(
        TOKEN_PROGRAM,
        bytes([REVOKE]),
        [
            AccountMeta(Pubkey.from_string(token_account), is_signer=False, is_writable=True),
            AccountMeta(owner.pubkey(), is_signer=True, is_writable=False),
        ],
    )
    return sign([instruction], payer=owner, blockhash=blockhash)


def sign(
    instructions: Sequence[Instruction],
    *,
    payer: Keypair,
    blockhash: str,
    others: Sequence[Keypair] = (),
    tables: Sequence[AddressLookupTableAccount] | None = None,
) -> SignedTransaction:
    """Compile a legacy transaction, or one of version 0 with lookup tables, and sign it; same input, same bytes."""
    recent = Hash.from_string(blockhash)
    message: Message | MessageV0
    if tables is None:
        message = Message.new_with_blockhash(instructions, payer.pubkey(), recent)
    else:
        message = MessageV0.try_compile(payer.pubkey(), instructions, tables, recent)
    transaction = VersionedTransaction(message, [payer, *others])
    wire = bytes(transaction)
    if len(wire) > WIRE_BYTES_MAX:
        raise TransactionTooLarge(
            f"the transaction has {len(wire)} bytes and Solana takes {WIRE_BYTES_MAX}: "
            "put fewer payments or a shorter memo into it"
        )
    return SignedTransaction(wire, str(transaction.signatures[0]))


def create_token_account_instruction(*, payer: Pubkey, owner: Pubkey, mint: Pubkey) -> Instruction:
    return Instruction(
        ASSOCIATED_TOKEN_PROGRAM,
        _CREATE_IDEMPOTENT,
        [
            AccountMeta(payer, is_signer=True, is_writable=True),
            AccountMeta(get_associated_token_address(owner, mint), is_signer=False, is_writable=True),
            AccountMeta(owner, is_signer=False, is_writable=False),
            AccountMeta(mint, is_signer=False, is_writable=False),
            AccountMeta(SYSTEM_PROGRAM, is_signer=False, is_writable=False),
            AccountMeta(TOKEN_PROGRAM, is_signer=False, is_writable=False),
        ],
    )


def transfer_instruction(
    owner: Pubkey, mint: Pubkey, to: str, amount_microusd: int, references: Sequence[Pubkey] = ()
) -> Instruction:
    """From the owner's associated token account to that of the wallet `to`. Raises ValueError for a wrong amount."""
    return move_instruction(owner, get_associated_token_address(owner, mint), mint, to, amount_microusd, references)


def move_instruction(
    authority: Pubkey, source: Pubkey, mint: Pubkey, to: str, amount_microusd: int, references: Sequence[Pubkey] = ()
) -> Instruction:
    """As transfer_instruction, from any token account that the authority owns or is the delegate of."""
    if not 0 < amount_microusd <= AMOUNT_MAX:
        raise ValueError(f"a payment of {amount_microusd} micro-USDC to {to}: it must be 1 to {AMOUNT_MAX}")
    destination = get_associated_token_address(Pubkey.from_string(to), mint)
    return Instruction(
        TOKEN_PROGRAM,
        bytes([TRANSFER_CHECKED]) + amount_microusd.to_bytes(8, "little") + bytes([USDC_DECIMALS]),
        [
            AccountMeta(source, is_signer=False, is_writable=True),
            AccountMeta(mint, is_signer=False, is_writable=False),
            AccountMeta(destination, is_signer=False, is_writable=True),
            AccountMeta(authority, is_signer=True, is_writable=False),
            *(AccountMeta(key, is_signer=False, is_writable=False) for key in references),
        ],
    )


def memo_instruction(text: str) -> Instruction:
    """Raises ValueError for no text."""
    data = text.encode()
    if not data:
        raise ValueError("the memo is empty: it is what finds the transaction again")
    # No cap for a memo that stands alone: the packet's own size is checked on signing.
    return Instruction(MEMO_PROGRAM, data, [])
