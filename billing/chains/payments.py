"""The transactions that settle: batches of payments, alone or by a lookup table, the table's growth, pulls. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey

from billing.chains.lookup_tables import Table, create_table, extend_table, table_address
from billing.chains.transactions import (
    SignedTransaction,
    TransactionTooLarge,
    create_token_account_instruction,
    memo_instruction,
    move_instruction,
    sign,
    transfer_instruction,
)

PAYMENTS_MAX: Final = 17
"""Payments that fit one legacy transaction next to a memo of MEMO_BYTES_MAX and a priority fee."""
NEW_ACCOUNTS_MAX: Final = 8
"""Payments that fit when each makes its recipient's token account as well."""
TABLE_PAYMENTS_MAX: Final = 48
"""Payments that fit where a lookup table names the accounts."""
MEMO_BYTES_MAX: Final = 76

# Generous against the Token program of 2024 (6,200 a transfer) and Memo (350 a byte); unused units cost only
# where a priority price is set.
_TRANSFER_UNITS: Final = 7_000
_NEW_ACCOUNT_UNITS: Final = 40_000
_TABLE_UNITS: Final = 5_000
_MEMO_UNITS: Final = 5_000
_MEMO_UNITS_PER_BYTE: Final = 400


@dataclass(frozen=True)
class Payment:
    """So much to a wallet, into its associated token account. new_account: which this payment makes first."""

    owner: str
    amount_microusd: int
    new_account: bool = False


def payments_max(*, tabled: bool, new_accounts: bool) -> int:
    """How many payments of one kind fit a transaction."""
    if new_accounts:
        return NEW_ACCOUNTS_MAX
    return TABLE_PAYMENTS_MAX if tabled else PAYMENTS_MAX


def payout_units(payments: Sequence[Payment], memo: str) -> int:
    """The compute units that a batch asks for."""
    created = sum(payment.new_account for payment in payments)
    return _TRANSFER_UNITS * len(payments) + _NEW_ACCOUNT_UNITS * created + memo_units(memo)


def memo_units(memo: str) -> int:
    """The compute units of a memo: all that an anchor asks for."""
    return _MEMO_UNITS + _MEMO_UNITS_PER_BYTE * len(memo.encode())


def growth_units(memo: str) -> int:
    """The compute units of a table's growth."""
    return 2 * _TABLE_UNITS + memo_units(memo)


def payout_batch(
    *,
    treasury: Keypair,
    mint: str,
    payments: Sequence[Payment],
    memo: str,
    blockhash: str,
    unit_price_microlamports: int = 0,
    table: Table | None = None,
) -> SignedTransaction:
    """All payments or none. `payment_of` tells which payment an instruction belongs to."""
    most = payments_max(tabled=table is not None, new_accounts=any(payment.new_account for payment in payments))
    if not 1 <= len(payments) <= most:
        raise TransactionTooLarge(f"this payout batch takes 1 to {most} payments, not {len(payments)}: split it")
    if len(memo.encode()) > MEMO_BYTES_MAX:
        raise TransactionTooLarge(f"a payout memo takes at most {MEMO_BYTES_MAX} bytes: {memo!r}")
    token, payer = Pubkey.from_string(mint), treasury.pubkey()
    instructions = [
        create_token_account_instruction(payer=payer, owner=Pubkey.from_string(payment.owner), mint=token)
        for payment in payments
        if payment.new_account
    ]
    instructions += [transfer_instruction(payer, token, each.owner, each.amount_microusd) for each in payments]
    instructions.append(memo_instruction(memo))
    instructions += prioritized(payout_units(payments, memo), unit_price_microlamports)
    tables = [table.account()] if table is not None else None
    return sign(instructions, payer=treasury, blockhash=blockhash, tables=tables)


@dataclass(frozen=True)
class Pull:
    """So much out of a customer's token account, which the treasury is the delegate of, into the treasury's."""

    source: str
    amount_microusd: int


def pull_units(memo: str) -> int:
    """The compute units of a pull."""
    return _TRANSFER_UNITS + memo_units(memo)


def pull_in(
    *, treasury: Keypair, mint: str, pull: Pull, memo: str, blockhash: str, unit_price_microlamports: int = 0
) -> SignedTransaction:
    """One pull, alone: its customer can make it fail at any moment, and must spoil nobody else's."""
    authority, source, token = treasury.pubkey(), Pubkey.from_string(pull.source), Pubkey.from_string(mint)
    instructions = [move_instruction(authority, source, token, str(authority), pull.amount_microusd)]
    instructions.append(memo_instruction(memo))
    instructions += prioritized(pull_units(memo), unit_price_microlamports)
    return sign(instructions, payer=treasury, blockhash=blockhash)


def payment_of(payments: Sequence[Payment], instruction: int | None) -> int | None:
    """The index of the payment that an instruction of its batch belongs to; None if of none."""
    order = [index for index, payment in enumerate(payments) if payment.new_account] + [*range(len(payments))]
    return order[instruction] if instruction is not None and instruction < len(order) else None


def table_growth(
    *,
    treasury: Keypair,
    address: str | None,
    recent_slot: int,
    entries: Sequence[str],
    memo: str,
    blockhash: str,
    unit_price_microlamports: int = 0,
) -> SignedTransaction:
    """More entries for the treasury's table; without an address, in a new one made of that slot."""
    payer = treasury.pubkey()
    instructions = [] if address is not None else [create_table(payer, recent_slot)]
    instructions.append(extend_table(address or table_address(payer, recent_slot), payer, entries))
    instructions.append(memo_instruction(memo))
    instructions += prioritized(growth_units(memo), unit_price_microlamports)
    return sign(instructions, payer=treasury, blockhash=blockhash)


def prioritized(units: int, unit_price_microlamports: int) -> list[Instruction]:
    """What bids for a place in a block; nothing where the price is 0."""
    if not unit_price_microlamports:
        return []
    return [set_compute_unit_limit(units), set_compute_unit_price(unit_price_microlamports)]
