"""Many rows in one statement: the server unpacks one JSON document, so a hundred rows cost little more than one."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Table, inspect
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import instance_dict, instance_state
from sqlalchemy.orm.state import InstanceState

from infra.database import Base
from infra.writing import Write, write


def insert_rows(session: Session, into: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows of plain values (times, words and texts of the column's own type), all with the same columns.

    Columns that are left out take the model's plain defaults, or the database's. They go with what else is written,
    before the next read or the commit (infra/writing.py): IntegrityError, for all of them, comes then.
    """
    if not rows:
        return
    steps, defaults = _insertion(into, tuple(rows[0]))
    document = [{**defaults, **row} for row in rows] if defaults else list(rows)
    write(session, Write(frozenset({into.__tablename__}), steps, {"rows{n}": _json(document)}))


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
        steps, keys = _update(table, columns)
        names = (*keys, *columns)
        # What was loaded and what was changed stands there, and is found without the mapper's machinery.
        document = [{name: values[name] for name in names} for values in map(instance_dict, rows)]
        write(session, Write(frozenset({table.__tablename__}), steps, {"rows{n}": _json(document)}))
        # As a flush does for what it has written: no later one looks at them again.
        states = ((instance_state(row), instance_dict(row)) for row in rows)
        InstanceState._commit_all_states(states, session.identity_map)


def values_of(row: Base) -> dict[str, Any]:
    """The columns that a new row has been given, for insert_rows."""
    values = dict(instance_dict(row))
    del values["_sa_instance_state"]
    return values


@lru_cache(maxsize=256)
def _insertion(into: type[Base], given: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    table = into.__table__
    assert isinstance(table, Table)
    defaults = {
        column.name: column.default.arg
        for column in table.columns
        if column.name not in given and column.default is not None and column.default.is_scalar
    }
    columns = ", ".join(f'"{name}"' for name in (*given, *defaults))
    given_rows = f"json_populate_recordset(NULL::{table.name}, cast(:rows{{n}} AS json))"
    # Every name in it is the model's own.
    return f"inserted{{n}} AS (INSERT INTO {table.name} ({columns}) SELECT {columns} FROM {given_rows})", defaults  # noqa: S608


@lru_cache(maxsize=256)
def _update(of: type[Base], columns: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    keys = tuple(column.name for column in of.__mapper__.primary_key)
    name = of.__tablename__
    values = ", ".join(f'"{column}" = given."{column}"' for column in columns)
    same = " AND ".join(f'{name}."{key}" = given."{key}"' for key in keys)
    given_rows = f"json_populate_recordset(NULL::{name}, cast(:rows{{n}} AS json)) AS given"
    # Every name in it is the model's own.
    return f"updated{{n}} AS (UPDATE {name} SET {values} FROM {given_rows} WHERE {same})", keys  # noqa: S608


def _json(rows: object) -> str:
    """Raises PydanticSerializationError for what is no plain value."""
    return to_json(rows).decode()
