"""The ledger: transfers are posted in sets, once each, under locks taken in one order.

Post once per transaction, last: two transactions that lock the same accounts then never wait for each other in a ring.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from billing.ledger.accounts import kind_of
from billing.tables.ledger import AccountRow, EntryRow, TransferRow
from infra.copying import copy_in, escaped
from infra.statements import Statement
from infra.writing import Write, write
from market.ids import new_id

_CREATE = Statement(
    "INSERT INTO accounts (id, kind) SELECT * FROM unnest(cast(:ids AS text[]), cast(:kinds AS text[])) "
    "ON CONFLICT (id) DO NOTHING"
)
_LOCK = Statement(
    "SELECT id, balance_microusd, budgeted FROM accounts WHERE id = ANY (cast(:ids AS text[])) "
    "ORDER BY id FOR NO KEY UPDATE"
)
# The trigger entries_apply checks the balance of each transfer and moves the accounts, in this same statement.
_POST = Statement(
    """
    WITH new AS (
        INSERT INTO transfers (id, key) SELECT * FROM unnest(cast(:ids AS text[]), cast(:keys AS text[]))
        ON CONFLICT (key) DO NOTHING RETURNING id, key
    ), written AS (
        INSERT INTO entries (transfer_id, account_id, amount_microusd) SELECT leg.*
        FROM unnest(cast(:leg_ids AS text[]), cast(:accounts AS text[]), cast(:amounts AS bigint[]))
            AS leg (transfer_id, account_id, amount_microusd)
        WHERE leg.transfer_id IN (SELECT id FROM new)
    )
    SELECT key FROM new
    """
)
# The same for transfers under keys that nobody can have used: it goes with whatever else is written.
_POST_FRESH = """
    posted{n} AS (
        INSERT INTO transfers (id, key) SELECT * FROM unnest(cast(:ids{n} AS text[]), cast(:keys{n} AS text[]))
    ), legs{n} AS (
        INSERT INTO entries (transfer_id, account_id, amount_microusd) SELECT * FROM unnest(
            cast(:leg_ids{n} AS text[]), cast(:accounts{n} AS text[]), cast(:amounts{n} AS bigint[])
        )
    )
"""
_FRESH_TABLES = frozenset(table.__tablename__ for table in (TransferRow, EntryRow, AccountRow))
_POSTED = Statement("SELECT key FROM transfers WHERE key = ANY (cast(:keys AS text[]))")
COPIED_LEGS_MIN = 500
"""From so many on, two COPYs and a look at what is there already cost less than one statement for all of it."""


class LedgerError(Exception):
    """A transfer that must never be posted: a fault of our own, not of any input."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """key: its natural name, such as "capture:win_01K..."; entries: by account, signed, adding up to zero."""

    key: str
    entries: Mapping[str, int]


class Locked(dict[str, int]):
    """The balances of locked accounts. budgeted: those whose organization has budgets (billing/charging/budgets.py)."""

    budgeted: frozenset[str] = frozenset()


def lock(session: Session, account_ids: Iterable[str]) -> Locked:
    """Lock these accounts, in the order of their names, and return their balances; missing ones are made."""
    ids = sorted(set(account_ids))
    found = lock_known(session, ids)
    missing = [account_id for account_id in ids if account_id not in found]
    if missing:
        _CREATE.rows(session, {"ids": missing, "kinds": [kind_of(account_id) for account_id in missing]})
        found = lock_known(session, ids)
    return found


def lock_known(session: Session, account_ids: Iterable[str]) -> Locked:
    """Lock those of these accounts that exist, in the order of their names, and return their balances."""
    rows = _LOCK.rows(session, {"ids": sorted(set(account_ids))})
    found = Locked((account_id, balance) for account_id, balance, _ in rows)
    found.budgeted = frozenset(account_id for account_id, _, budgeted in rows if budgeted)
    return found


def balances(session: Session, account_ids: Sequence[str]) -> dict[str, int]:
    """Balances without a lock; an account that does not exist yet has none."""
    rows = session.execute(select(AccountRow.id, AccountRow.balance_microusd).where(AccountRow.id.in_(account_ids)))
    return dict.fromkeys(account_ids, 0) | {row.id: row.balance_microusd for row in rows}


def post(session: Session, transfers: Sequence[Transfer], *, locked: Iterable[str] = ()) -> set[str]:
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
    _lock_others(session, wanted, locked)
    new = (_insert if sum(map(len, wanted.values())) < COPIED_LEGS_MIN else _copy)(session, wanted)
    _require_same(session, {key: wanted[key] for key in wanted if key not in new})
    return new


def post_fresh(session: Session, transfers: Sequence[Transfer], *, locked: Iterable[str]) -> None:
    """As post, of transfers under keys that are fresh; they go with what else the transaction writes.

    The database refuses a key that is used after all, as it refuses a balance below zero.
    """
    wanted = {transfer.key: legs for transfer in transfers if (legs := _legs(transfer))}
    if wanted:
        _lock_others(session, wanted, locked)
        values = {f"{name}{{n}}": value for name, value in _columns(wanted).items()}
        write(session, Write(_FRESH_TABLES, _POST_FRESH, values))


def entries_of(session: Session, keys: Sequence[str]) -> dict[str, dict[str, int]]:
    """The entries of posted transfers, by key."""
    rows = session.execute(
        select(TransferRow.key, func.jsonb_object_agg(EntryRow.account_id, EntryRow.amount_microusd))
        .join(EntryRow, EntryRow.transfer_id == TransferRow.id)
        .where(TransferRow.key.in_(keys))
        .group_by(TransferRow.key)
    )
    return {key: dict(entries) for key, entries in rows}


def _lock_others(session: Session, wanted: Mapping[str, Mapping[str, int]], locked: Iterable[str]) -> None:
    """Lock the accounts that the caller has not."""
    missing = {account_id for legs in wanted.values() for account_id in legs}.difference(locked)
    if missing:
        lock(session, missing)


def _insert(session: Session, wanted: Mapping[str, Mapping[str, int]]) -> set[str]:
    """Write those that are not posted yet, in one statement; returns their keys."""
    return {row.key for row in _POST.rows(session, _columns(wanted))}


def _columns(wanted: Mapping[str, Mapping[str, int]]) -> dict[str, list[Any]]:
    """Of both tables, each transfer with an id of its own."""
    ids = {key: new_id("xfer") for key in wanted}
    legs = [(ids[key], account_id, amount) for key in wanted for account_id, amount in wanted[key].items()]
    leg_ids, leg_accounts, amounts = (list(column) for column in zip(*legs, strict=True))
    return {
        "ids": list(ids.values()),
        "keys": list(ids),
        "leg_ids": leg_ids,
        "accounts": leg_accounts,
        "amounts": amounts,
    }


def _copy(session: Session, wanted: Mapping[str, Mapping[str, int]]) -> set[str]:
    """As _insert. Whoever posts the same has locked its accounts, so that it is to be seen here, or comes after us."""
    posted = {row.key for row in _POSTED.rows(session, {"keys": list(wanted)})}
    ids = {key: new_id("xfer") for key in wanted if key not in posted}
    legs = [(id_, wanted[key]) for key, id_ in ids.items()]
    copy_in(session, TransferRow, ("id", "key"), (f"{id_}\t{escaped(key)}\n".encode() for key, id_ in ids.items()))
    copy_in(
        session,
        EntryRow,
        ("transfer_id", "account_id", "amount_microusd"),
        ("".join([f"{id_}\t{account}\t{amount}\n" for account, amount in of.items()]).encode() for id_, of in legs),
    )
    return set(ids)


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
