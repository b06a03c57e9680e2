"""The Solana transactions Gridbay signs: payout batches, epoch anchors, deposits, new token accounts.

Pure: no network, no clock. Instruction layouts are those of the SPL Token, Associated Token Account and Memo
programs; a deposit has the shape of Solana Pay's transfer request.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.message import Message
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM_PROGRAM
from solders.token import ID as TOKEN_PROGRAM
from solders.token.associated import get_associated_token_address
from solders.transaction import VersionedTransaction

from billing.chains.port import ChainError

USDC_DECIMALS: Final = 6
PAYOUTS_MAX: Final = 17
"""Transfers that fit one legacy transaction next to a memo of PAYOUT_MEMO_BYTES_MAX and a priority fee."""
PAYOUT_MEMO_BYTES_MAX: Final = 82
WIRE_BYTES_MAX: Final = 1232
AMOUNT_MAX: Final = 2**64 - 1

MEMO_PROGRAM: Final = Pubkey.from_string("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr")
ASSOCIATED_TOKEN_PROGRAM: Final = Pubkey.from_string("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")

# Token instruction numbers and associated-token instruction numbers, from the programs' sources.
TRANSFER: Final = 3
TRANSFER_CHECKED: Final = 12
_CREATE_IDEMPOTENT: Final = b"\x01"

# Generous against the Token program of 2024 (6,200 a transfer) and Memo (350 a byte); unused units cost only
# where a priority price is set.
_TRANSFER_UNITS: Final = 7_000
_MEMO_UNITS: Final = 5_000
_MEMO_UNITS_PER_BYTE: Final = 400


class TransactionTooLarge(ChainError):
    """The transaction does not fit Solana's packet: put fewer payments or a shorter memo into it."""


@dataclass(frozen=True)
class SignedTransaction:
    """What is stored before it is sent; `wire` always sends the same transaction, known by `signature`."""

    wire: bytes
    signature: str


@dataclass(frozen=True)
class Payment:
    """So much to a wallet, into its associated token account, which must exist."""

    owner: str
    amount_microusd: int


def associated_token_address(owner: str, mint: str) -> str:
    """Where a wallet keeps its tokens of a mint."""
    return str(get_associated_token_address(Pubkey.from_string(owner), Pubkey.from_string(mint)))


def payout_batch(
    *,
    treasury: Keypair,
    mint: str,
    payments: Sequence[Payment],
    memo: str,
    blockhash: str,
    unit_price_microlamports: int = 0,
) -> SignedTransaction:
    """All payments or none. Instruction number i is payment number i, so a Failure names the payment to blame."""
    if not 1 <= len(payments) <= PAYOUTS_MAX:
        raise TransactionTooLarge(f"a payout batch takes 1 to {PAYOUTS_MAX} payments, not {len(payments)}: split it")
    if len(memo.encode()) > PAYOUT_MEMO_BYTES_MAX:
        raise TransactionTooLarge(f"a payout memo takes at most {PAYOUT_MEMO_BYTES_MAX} bytes: {memo!r}")
    token = Pubkey.from_string(mint)
    instructions = [_transfer(treasury.pubkey(), token, payment) for payment in payments]
    instructions.append(_memo(memo))
    if unit_price_microlamports:
        units = _TRANSFER_UNITS * len(payments) + _MEMO_UNITS + _MEMO_UNITS_PER_BYTE * len(memo.encode())
        instructions += [set_compute_unit_limit(units), set_compute_unit_price(unit_price_microlamports)]
    return sign(instructions, payer=treasury, blockhash=blockhash)


def memo_anchor(*, payer: Keypair, memo: str, blockhash: str) -> SignedTransaction:
    """Text alone, on the chain under the payer's signature: the root of an epoch."""
    return sign([_memo(memo)], payer=payer, blockhash=blockhash)


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
    transfer = _transfer(
        payer.pubkey(),
        Pubkey.from_string(mint),
        Payment(treasury, amount_microusd),
        references=[Pubkey.from_string(reference)],
    )
    # Solana Pay: the memo comes right before the transfer, and the transfer last.
    return sign([_memo(memo), transfer], payer=payer, blockhash=blockhash)


def create_token_account(*, payer: Keypair, owner: str, mint: str, blockhash: str) -> SignedTransaction:
    """The owner's associated token account, at the payer's cost; nothing happens if it exists."""
    instruction = create_token_account_instruction(
        payer=payer.pubkey(), owner=Pubkey.from_string(owner), mint=Pubkey.from_string(mint)
    )
    return sign([instruction], payer=payer, blockhash=blockhash)


def sign(
    instructions: Sequence[Instruction], *, payer: Keypair, blockhash: str, others: Sequence[Keypair] = ()
) -> SignedTransaction:
    """Compile a legacy transaction and sign it; the same input gives the same bytes."""
    message = Message.new_with_blockhash(instructions, payer.pubkey(), Hash.from_string(blockhash))
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


def _transfer(owner: Pubkey, mint: Pubkey, payment: Payment, references: Sequence[Pubkey] = ()) -> Instruction:
    amount = payment.amount_microusd
    if not 0 < amount <= AMOUNT_MAX:
        raise ValueError(f"a payment of {amount} micro-USDC to {payment.owner}: it must be 1 to {AMOUNT_MAX}")
    destination = get_associated_token_address(Pubkey.from_string(payment.owner), mint)
    return Instruction(
        TOKEN_PROGRAM,
        bytes([TRANSFER_CHECKED]) + amount.to_bytes(8, "little") + bytes([USDC_DECIMALS]),
        [
            AccountMeta(get_associated_token_address(owner, mint), is_signer=False, is_writable=True),
            AccountMeta(mint, is_signer=False, is_writable=False),
            AccountMeta(destination, is_signer=False, is_writable=True),
            AccountMeta(owner, is_signer=True, is_writable=False),
            *(AccountMeta(key, is_signer=False, is_writable=False) for key in references),
        ],
    )


def _memo(text: str) -> Instruction:
    data = text.encode()
    if not data:
        raise ValueError("the memo is empty: it is what finds the transaction again")
    # No cap for a memo that stands alone: the packet's own size is checked on signing.
    return Instruction(MEMO_PROGRAM, data, [])
