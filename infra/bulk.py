"""Many rows in one statement: the server unpacks one JSON document, so a hundred rows cost little more than one."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Table, TextClause, inspect, text
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from infra.database import Base


def insert_rows(session: Session, into: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows of plain values (times, words and texts of the column's own type), all with the same columns.

    Columns that are left out take the model's plain defaults, or the database's. Raises IntegrityError for all of them.
    """
    if not rows:
        return
    statement, defaults = _insertion(into, tuple(rows[0]))
    document = json.dumps([{**defaults, **row} for row in rows] if defaults else list(rows), default=_plain)
    session.execute(statement, {"rows": document})


def write_changes(session: Session) -> None:
    """Write what was changed of loaded rows, in one statement for each table and set of columns.

    A flush would do the same with a statement a row.
    """
    changed: dict[tuple[type[Base], tuple[str, ...]], list[Base]] = {}
    for row in session.dirty:
        columns = tuple(sorted(inspect(row).committed_state))
        if columns:
            changed.setdefault((type(row), columns), []).append(row)
    for (table, columns), rows in changed.items():
        statement, keys = _update(table, columns)
        document = [{name: getattr(row, name) for name in (*keys, *columns)} for row in rows]
        with session.no_autoflush:
            session.execute(statement, {"rows": json.dumps(document, default=_plain)})
        for row in rows:
            for name in columns:
                set_committed_value(row, name, getattr(row, name))


def values_of(row: Base) -> dict[str, Any]:
    """The columns that a new row has been given, for insert_rows."""
    return {name: getattr(row, name) for name in row.__mapper__.columns.keys() if name in row.__dict__}  # noqa: SIM118 (no mapping)


@lru_cache(maxsize=256)
def _insertion(into: type[Base], given: tuple[str, ...]) -> tuple[TextClause, dict[str, Any]]:
    table = into.__table__
    assert isinstance(table, Table)
    defaults = {
        column.name: column.default.arg
        for column in table.columns
        if column.name not in given and column.default is not None and column.default.is_scalar
    }
    columns = ", ".join(f'"{name}"' for name in (*given, *defaults))
    given_rows = f"json_populate_recordset(NULL::{table.name}, cast(:rows AS json))"
    # Every name in it is the model's own.
    return text(f"INSERT INTO {table.name} ({columns}) SELECT {columns} FROM {given_rows}"), defaults  # noqa: S608


@lru_cache(maxsize=256)
def _update(of: type[Base], columns: tuple[str, ...]) -> tuple[TextClause, tuple[str, ...]]:
    keys = tuple(column.name for column in of.__mapper__.primary_key)
    name = of.__tablename__
    values = ", ".join(f'"{column}" = given."{column}"' for column in columns)
    same = " AND ".join(f'{name}."{key}" = given."{key}"' for key in keys)
    given_rows = f"json_populate_recordset(NULL::{name}, cast(:rows AS json)) AS given"
    # Every name in it is the model's own.
    return text(f"UPDATE {name} SET {values} FROM {given_rows} WHERE {same}"), keys  # noqa: S608


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is no plain value")
