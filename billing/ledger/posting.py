"""The ledger: transfers are posted in sets, once each, under locks taken in one order.

Post once per transaction, last: two transactions that lock the same accounts then never wait for each other in a ring.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from billing.ledger.accounts import kind_of
from billing.tables.ledger import AccountRow, EntryRow, TransferRow
from market.ids import new_id

_CREATE = text(
    "INSERT INTO accounts (id, kind) SELECT * FROM unnest(cast(:ids AS text[]), cast(:kinds AS text[])) "
    "ON CONFLICT (id) DO NOTHING"
)
# The trigger entries_apply checks the balance of each transfer and moves the accounts, in this same statement.
_POST = text(
    """
    WITH new AS (
        INSERT INTO transfers (id, key) SELECT * FROM unnest(cast(:ids AS text[]), cast(:keys AS text[]))
        ON CONFLICT (key) DO NOTHING RETURNING id, key
    ), written AS (
        INSERT INTO entries (transfer_id, account_id, amount_microusd)
        SELECT new.id, leg.account_id, leg.amount_microusd
        FROM unnest(cast(:leg_keys AS text[]), cast(:accounts AS text[]), cast(:amounts AS bigint[]))
            AS leg(key, account_id, amount_microusd)
        JOIN new ON new.key = leg.key
    )
    SELECT key FROM new
    """
)


class LedgerError(Exception):
    """A transfer that must never be posted: a fault of our own, not of any input."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """key: its natural name, such as "capture:win_01K..."; entries: by account, signed, adding up to zero."""

    key: str
    entries: Mapping[str, int]


def lock(session: Session, account_ids: Iterable[str]) -> dict[str, int]:
    """Lock these accounts, in the order of their names, and return their balances; missing ones are made."""
    ids = sorted(set(account_ids))
    found = lock_known(session, ids)
    missing = [account_id for account_id in ids if account_id not in found]
    if missing:
        session.execute(_CREATE, {"ids": missing, "kinds": [kind_of(account_id) for account_id in missing]})
        found = lock_known(session, ids)
    return found


def lock_known(session: Session, account_ids: Iterable[str]) -> dict[str, int]:
    """Lock those of these accounts that exist, in the order of their names, and return their balances."""
    statement = (
        select(AccountRow.id, AccountRow.balance_microusd)
        .where(AccountRow.id.in_(sorted(set(account_ids))))
        .order_by(AccountRow.id)
        .with_for_update(key_share=True)
    )
    return {row.id: row.balance_microusd for row in session.execute(statement)}


def balances(session: Session, account_ids: Sequence[str]) -> dict[str, int]:
    """Balances without a lock; an account that does not exist yet has none."""
    rows = session.execute(select(AccountRow.id, AccountRow.balance_microusd).where(AccountRow.id.in_(account_ids)))
    return dict.fromkeys(account_ids, 0) | {row.id: row.balance_microusd for row in rows}


def post(session: Session, transfers: Sequence[Transfer], *, locked: Container[str] = ()) -> set[str]:
    """Post these transfers and return the keys of those that are new; one that is posted already is left alone.

    locked: accounts that the caller has locked in this transaction.
    Legs of zero are dropped, and so is a transfer of nothing but zeros. Raises LedgerError for one that does not
    balance or whose key stands for other entries; the database refuses a balance below zero.
    """
    wanted = {transfer.key: _legs(transfer) for transfer in transfers}
    if len(wanted) != len(transfers):
        raise LedgerError("two transfers of one call have the same key")
    wanted = {key: legs for key, legs in wanted.items() if legs}
    if not wanted:
        return set()
    legs = [(key, account_id, amount) for key in wanted for account_id, amount in wanted[key].items()]
    missing = {account_id for _, account_id, _ in legs if account_id not in locked}
    if missing:
        lock(session, missing)
    leg_keys, leg_accounts, amounts = (list(column) for column in zip(*legs, strict=True))
    values = {"leg_keys": leg_keys, "accounts": leg_accounts, "amounts": amounts}
    new = set(session.scalars(_POST, {"ids": [new_id("xfer") for _ in wanted], "keys": list(wanted), **values}))
    _require_same(session, {key: wanted[key] for key in wanted if key not in new})
    return new


def entries_of(session: Session, keys: Sequence[str]) -> dict[str, dict[str, int]]:
    """The entries of posted transfers, by key."""
    rows = session.execute(
        select(TransferRow.key, func.jsonb_object_agg(EntryRow.account_id, EntryRow.amount_microusd))
        .join(EntryRow, EntryRow.transfer_id == TransferRow.id)
        .where(TransferRow.key.in_(keys))
        .group_by(TransferRow.key)
    )
    return {key: dict(entries) for key, entries in rows}


def _legs(transfer: Transfer) -> dict[str, int]:
    if sum(transfer.entries.values()) != 0:
        raise LedgerError(f"transfer {transfer.key} does not balance: {dict(transfer.entries)}")
    return {account_id: amount for account_id, amount in transfer.entries.items() if amount != 0}


def _require_same(session: Session, repeated: Mapping[str, Mapping[str, int]]) -> None:
    if not repeated:
        return
    posted = entries_of(session, list(repeated))
    for key, legs in repeated.items():
        if posted.get(key) != legs:
            raise LedgerError(f"transfer {key} is posted with other entries: {posted.get(key)}, not {dict(legs)}")
