"""Many rows in one statement: the server unpacks one JSON document, so a hundred rows cost little more than one."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Table, TextClause, text
from sqlalchemy.orm import Session

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


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} is no plain value")
