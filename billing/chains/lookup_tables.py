"""Address lookup tables: addresses kept on the chain once, which a transaction then names by one byte each.

Pure. Instruction layouts are those of Solana's Address Lookup Table program.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from solders.address_lookup_table_account import (
    ID,
    AddressLookupTable,
    AddressLookupTableAccount,
    derive_lookup_table_address,
)
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey
from solders.system_program import ID as SYSTEM_PROGRAM

TABLE_PROGRAM: Final = ID
TABLE_ENTRIES_MAX: Final = 256
"""Addresses of one table: Solana's own limit."""
ENTRIES_PER_TRANSACTION_MAX: Final = 24
"""Addresses that one transaction can add next to a memo and a priority fee."""
_CREATE: Final = 0
_EXTEND: Final = 2


@dataclass(frozen=True)
class Table:
    """A table and its addresses in their order, as far as they are final."""

    address: str
    entries: tuple[str, ...]

    def account(self) -> AddressLookupTableAccount:
        keys = [Pubkey.from_string(entry) for entry in self.entries]
        return AddressLookupTableAccount(Pubkey.from_string(self.address), keys)


def table_address(authority: Pubkey, recent_slot: int) -> str:
    """Where the table will be that this authority creates at this slot."""
    return str(derive_lookup_table_address(authority, recent_slot)[0])


def create_table(authority: Pubkey, recent_slot: int) -> Instruction:
    """An empty table, at the authority's cost. recent_slot: of a block of the last 512 that has not been skipped."""
    address, bump = derive_lookup_table_address(authority, recent_slot)
    data = _CREATE.to_bytes(4, "little") + recent_slot.to_bytes(8, "little") + bytes([bump])
    return Instruction(TABLE_PROGRAM, data, _accounts(address, authority))


def extend_table(address: str, authority: Pubkey, entries: Sequence[str]) -> Instruction:
    """More addresses at the end of a table; they can be used from the next slot on."""
    keys = b"".join(bytes(Pubkey.from_string(entry)) for entry in entries)
    data = _EXTEND.to_bytes(4, "little") + len(entries).to_bytes(8, "little") + keys
    return Instruction(TABLE_PROGRAM, data, _accounts(Pubkey.from_string(address), authority))


def read_table(data: bytes) -> tuple[str, ...]:
    """The addresses in a table's account. Raises ValueError for what is no table."""
    return tuple(str(key) for key in AddressLookupTable.deserialize(data).addresses)


def _accounts(address: Pubkey, authority: Pubkey) -> list[AccountMeta]:
    return [
        AccountMeta(address, is_signer=False, is_writable=True),
        AccountMeta(authority, is_signer=True, is_writable=False),
        AccountMeta(authority, is_signer=True, is_writable=True),
        AccountMeta(SYSTEM_PROGRAM, is_signer=False, is_writable=False),
    ]
