"""COPY into a table on the session's own connection: the fastest way in, as part of the session's transaction."""

from collections.abc import Iterable, Iterator, Sequence

import psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from infra.database import Base

BLOCK_BYTES = 1 << 16

# Of COPY's text format: what a value may not hold as itself.
_ESCAPES = str.maketrans({"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r"})


def escaped(value: str) -> str:
    """A text as COPY's text format has it. value: without NUL, which PostgreSQL does not store."""
    return value.translate(_ESCAPES)


def copy_in(session: Session, into: type[Base], columns: Sequence[str], blocks: Iterable[bytes]) -> None:
    """Copy rows in COPY's text format (values escaped and parted by tabs, a newline after each row).

    Raises what a statement of the session would.
    """
    connection = session.connection()
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    names = ", ".join(f'"{name}"' for name in columns)
    # Every name in it is the model's own.
    statement = f"COPY {into.__tablename__} ({names}) FROM STDIN"
    try:
        with driver.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            for several in _gathered(blocks):
                copy.write(several)
    except psycopg.Error as error:
        lost = driver.broken or driver.closed
        if lost:
            connection.invalidate(error)
        raise DBAPIError.instance(
            statement, None, error, psycopg.Error, connection_invalidated=lost, dialect=connection.dialect
        ) from error


def _gathered(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in fewer pieces."""
    waiting: list[bytes] = []
    size = 0
    for block in blocks:
        waiting.append(block)
        size += len(block)
        if size >= BLOCK_BYTES:
            yield b"".join(waiting)
            waiting.clear()
            size = 0
    yield b"".join(waiting)
