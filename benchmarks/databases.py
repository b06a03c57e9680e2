"""A market's database on a PostgreSQL of its own, for benchmarks of what rests on it alone."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text

from gridbay.processes.contexts import TABLES
from infra import migrations
from infra.database import Database
from infra.embedded.ephemeral import ephemeral_postgres

assert TABLES, "every table is in the metadata"


@contextmanager
def durable_database() -> Iterator[Database]:
    """Empty, with the newest schema; what it commits reaches the disk."""
    with ephemeral_postgres(durable=True) as url:
        database = Database(url)
        with database.engine.begin() as connection:
            connection.execute(text("CREATE EXTENSION IF NOT EXISTS btree_gist"))
            migrations.upgrade(connection)
        yield database
        database.dispose()
