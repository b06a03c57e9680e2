"""The local chain on disk: accounts, transactions, and which addresses they name, in one SQLite file.

Every write is one SQLite transaction, synced before it returns: what the chain has answered is there after kill -9.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from solders.account import Account
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature

from billing.chains.local.slots import FIRST_HEIGHT

FORMAT: Final = 1

_SCHEMA: Final = """
CREATE TABLE chain (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    format INTEGER NOT NULL,
    genesis BLOB NOT NULL,
    -- no height at or above this one has been shown to anybody
    next_height INTEGER NOT NULL
) STRICT;
CREATE TABLE accounts (
    address BLOB PRIMARY KEY,
    lamports TEXT NOT NULL, -- unsigned 64 bits, one more than SQLite's integers have
    owner BLOB NOT NULL,
    executable INTEGER NOT NULL,
    data BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE transactions (
    position INTEGER PRIMARY KEY,
    signature BLOB NOT NULL UNIQUE,
    height INTEGER NOT NULL,
    block_time INTEGER NOT NULL,
    wire BLOB NOT NULL,
    error TEXT, -- JSON as the RPC gives it
    memo TEXT,
    meta TEXT NOT NULL -- JSON as the RPC gives it
) STRICT;
CREATE TABLE mentions (
    address BLOB NOT NULL,
    position INTEGER NOT NULL REFERENCES transactions (position),
    PRIMARY KEY (address, position)
) STRICT, WITHOUT ROWID;
"""
_COLUMNS: Final = "position, signature, height, block_time, wire, error, memo, meta"


class StoreLocked(Exception):
    """Another process has this chain open."""


@dataclass(frozen=True)
class Landed:
    """A transaction that is part of the chain, successful or failed."""

    signature: Signature
    height: int
    block_time: int
    wire: bytes
    error: str | None
    memo: str | None
    meta: str
    position: int = 0


class Store:
    """Not safe for several threads at once: the chain calls it under its lock."""

    def __init__(self, path: Path) -> None:
        # autocommit: transactions are begun and ended here, by name
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0)
        try:
            # An exclusive lock for as long as the file is open: two runtimes over one file would drift apart.
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("BEGIN IMMEDIATE")
            found = self._db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'chain'").fetchone()[0]
            self._db.execute("COMMIT")
            self.is_new = not found
            if found:
                self._check_format(path)
        except sqlite3.OperationalError as error:
            self._db.close()
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                raise StoreLocked(f"{path} is open in another process: stop that local chain first") from error
            raise

    def create(self, genesis: Hash, accounts: Iterable[tuple[Pubkey, Account]]) -> None:
        """Write the chain's first state, whole or not at all."""
        with _Transaction(self._db):
            for statement in _SCHEMA.split(";\n"):
                self._db.execute(statement)
            self._db.execute("INSERT INTO chain VALUES (1, ?, ?, ?)", (FORMAT, bytes(genesis), FIRST_HEIGHT))
            self._put_accounts(accounts)
        self.is_new = False

    def genesis(self) -> Hash:
        return Hash(self._db.execute("SELECT genesis FROM chain").fetchone()[0])

    def next_height(self) -> int:
        return int(self._db.execute("SELECT next_height FROM chain").fetchone()[0])

    def reserve_heights(self, next_height: int) -> None:
        """Remember that heights below this one may have been shown."""
        self._db.execute("UPDATE chain SET next_height = ?", (next_height,))

    def forks(self) -> list[int]:
        """Above which heights blocks were replaced, oldest first."""
        if not self._db.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'forks'").fetchone()[0]:
            return []
        return [int(above) for (above,) in self._db.execute("SELECT above FROM forks ORDER BY number")]

    def accounts(self) -> Iterator[tuple[Pubkey, Account]]:
        for address, lamports, owner, executable, data in self._db.execute(
            "SELECT address, lamports, owner, executable, data FROM accounts"
        ):
            yield Pubkey(address), Account(int(lamports), data, Pubkey(owner), bool(executable))

    def add(
        self,
        landed: Landed,
        mentions: Sequence[Pubkey],
        changed: Iterable[tuple[Pubkey, Account | None]],
    ) -> None:
        """One more transaction at the end of the chain, with the accounts as it left them (None: gone)."""
        with _Transaction(self._db):
            row = (
                bytes(landed.signature),
                landed.height,
                landed.block_time,
                landed.wire,
                landed.error,
                landed.memo,
                landed.meta,
            )
            position = self._db.execute(
                "INSERT INTO transactions (signature, height, block_time, wire, error, memo, meta) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                row,
            ).lastrowid
            self._db.executemany(
                "INSERT INTO mentions (address, position) VALUES (?, ?)", [(bytes(key), position) for key in mentions]
            )
            self._put_accounts((key, account) for key, account in changed if account is not None)
            self._db.executemany(
                "DELETE FROM accounts WHERE address = ?",
                [(bytes(key),) for key, account in changed if account is None],
            )

    def take_back(self, above: int, replaced: Iterable[tuple[Pubkey, Account | None]]) -> None:
        """Forget the transactions above a height, with the accounts as they were before them (None: absent)."""
        before = list(replaced)
        with _Transaction(self._db):
            # Made at the first fork: a chain without one keeps the format that it was founded with.
            self._db.execute("CREATE TABLE IF NOT EXISTS forks (number INTEGER PRIMARY KEY, above INTEGER NOT NULL)")
            self._db.execute("INSERT INTO forks (above) VALUES (?)", (above,))
            self._db.execute(
                "DELETE FROM mentions WHERE position IN (SELECT position FROM transactions WHERE height > ?)", (above,)
            )
            self._db.execute("DELETE FROM transactions WHERE height > ?", (above,))
            self._put_accounts((key, account) for key, account in before if account is not None)
            self._db.executemany(
                "DELETE FROM accounts WHERE address = ?", [(bytes(key),) for key, account in before if account is None]
            )

    def find(self, signature: Signature) -> Landed | None:
        row = self._db.execute(
            f"SELECT {_COLUMNS} FROM transactions WHERE signature = ?",  # noqa: S608 (a constant)
            (bytes(signature),),
        ).fetchone()
        return None if row is None else _landed(row)

    def mentioning(
        self, address: Pubkey, *, above: int, below: int | None, height_max: int, limit: int
    ) -> list[Landed]:
        """Transactions that name the address, newest first, between two positions (both excluded)."""
        columns = ", ".join(f"t.{name}" for name in _COLUMNS.split(", "))
        rows = self._db.execute(
            f"SELECT {columns} FROM mentions m JOIN transactions t USING (position) "  # noqa: S608 (a constant)
            "WHERE m.address = ? AND position > ? AND position < ? AND t.height <= ? "
            "ORDER BY position DESC LIMIT ?",
            (bytes(address), above, 2**62 if below is None else below, height_max, limit),
        )
        return [_landed(row) for row in rows]

    def close(self) -> None:
        self._db.close()

    def _put_accounts(self, accounts: Iterable[tuple[Pubkey, Account]]) -> None:
        self._db.executemany(
            "INSERT OR REPLACE INTO accounts (address, lamports, owner, executable, data) VALUES (?, ?, ?, ?, ?)",
            [(bytes(key), str(a.lamports), bytes(a.owner), a.executable, a.data) for key, a in accounts],
        )

    def _check_format(self, path: Path) -> None:
        found = self._db.execute("SELECT format FROM chain").fetchone()[0]
        if found != FORMAT:
            self._db.close()
            raise ValueError(f"{path} has format {found}, this program reads {FORMAT}: start with a new state folder")


class _Transaction:
    """BEGIN on entry, COMMIT on leaving, ROLLBACK if anything failed, the commit included."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._db.execute("COMMIT")
        finally:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")


def _landed(row: tuple[int, bytes, int, int, bytes, str | None, str | None, str]) -> Landed:
    position, signature, height, block_time, wire, error, memo, meta = row
    return Landed(Signature(signature), height, block_time, wire, error, memo, meta, position)
