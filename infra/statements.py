"""SQL of the hot path: plain statements run on the driver itself, and conditions whose text does not grow with a set.

What SQLAlchemy adds to a statement costs a few times what the database takes for a small one (ADR 0010).
"""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import psycopg
from psycopg.rows import BaseRowFactory, namedtuple_row
from sqlalchemy import ColumnElement, Connection, Text, any_, cast, literal
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import InstrumentedAttribute, Session

_NAME = re.compile(r"(?<!:):([a-z_][a-z0-9_]*)")


class Statement:
    """SQL with `:names`, made once. Values are plain, or lists of plain ones; their casts stand in the SQL."""

    def __init__(self, sql: str) -> None:
        names: dict[str, int] = {}
        self.sql = _NAME.sub(lambda found: f"${names.setdefault(found[1], len(names) + 1)}", sql)
        self._names = tuple(names)

    def rows(
        self, session: Session, values: Mapping[str, Any], factory: BaseRowFactory[Any] = namedtuple_row
    ) -> list[Any]:
        """Run it and return its rows, as a rule with a name for each column; what was written before goes first, but
        within `no_autoflush`.

        Raises what SQLAlchemy would: IntegrityError, OperationalError...
        """
        if session.autoflush:
            session.flush()
        return self.run(Session.connection(session), values, factory)

    def run(
        self, connection: Connection, values: Mapping[str, Any], factory: BaseRowFactory[Any] = namedtuple_row
    ) -> list[Any]:
        """As `rows`, and nothing else goes first."""
        driver = connection.connection.driver_connection
        assert driver is not None
        cursor = psycopg.RawCursor(driver, row_factory=factory)
        try:
            cursor.execute(self.sql, [_sent(values[name]) for name in self._names], prepare=True)
            return cursor.fetchall() if cursor.description is not None else []
        except psycopg.Error as error:
            raise _as_sqlalchemys(connection, cursor, self.sql, error) from error


def among(column: InstrumentedAttribute[str], values: Collection[str]) -> ColumnElement[bool]:
    """The column is one of these. One array whatever their number, so that the statement is planned once."""
    return column == any_(cast(literal(array(values), Text), ARRAY(Text)))


def array(values: Iterable[object]) -> str:
    """A list as PostgreSQL writes one; the driver would take ten times as long over it."""
    given = list(values)
    if given and all(isinstance(value, str) for value in given):
        text = '","'.join(given)  # type: ignore[arg-type] # just looked at
        # Nothing in it needs a backslash: mostly ids and words do not.
        if "\\" not in text and text.count('"') == 2 * (len(given) - 1):
            return f'{{"{text}"}}'
    return "{" + ",".join([_item(value) for value in given]) + "}"


def _item(value: object) -> str:
    if isinstance(value, str):
        # An enumeration's member is its value.
        return '"' + str.__str__(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
    return "NULL" if value is None else str(value)


def _sent(value: object) -> object:
    return array(value) if isinstance(value, list) else value


def _as_sqlalchemys(connection: Connection, cursor: Any, sql: str, error: psycopg.Error) -> BaseException:
    gone = connection.dialect.is_disconnect(error, cursor.connection, cursor)  # type: ignore[arg-type]
    if gone:
        connection.invalidate(error)
    return DBAPIError.instance(sql, None, error, psycopg.Error, connection_invalidated=gone, dialect=connection.dialect)
