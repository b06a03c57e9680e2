"""Empties a test's database: ten times quicker than to truncate fifty tables, most of which are empty."""

from sqlalchemy import Connection, text

from infra.database import Base

_RESTART = """
SELECT setval(format('%I.%I', schemaname, sequencename)::regclass, 1, false)
FROM pg_sequences WHERE last_value IS NOT NULL"""


def empty(connection: Connection) -> None:
    """No row is left, and what is numbered begins anew."""
    names = [table.name for table in Base.metadata.sorted_tables]
    filled = " UNION ALL ".join(f"SELECT '{name}' WHERE EXISTS (SELECT FROM \"{name}\")" for name in names)
    # Whatever refers to whatever, and whatever may not be deleted.
    connection.execute(text("SET LOCAL session_replication_role = replica"))
    for name in connection.scalars(text(filled)).all():
        connection.execute(text(f'DELETE FROM "{name}"'))
    connection.execute(text(_RESTART))
