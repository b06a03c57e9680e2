"""Writes a migration: what the models say beyond the newest migration, found on an empty database of its own."""

import sys

from alembic import command
from sqlalchemy import create_engine, text

from gridbay.processes.contexts import TABLES
from infra import migrations
from infra.embedded.ephemeral import ephemeral_postgres


def main() -> None:
    """Write infra/migrations/versions/<revision>_<message>.py; the message is the only argument."""
    if len(sys.argv) != 2 or not sys.argv[1].strip():
        sys.exit('usage: make migration MESSAGE="what changes"')
    assert TABLES
    with ephemeral_postgres() as url, create_engine(url).begin() as connection:
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS btree_gist"))
        migrations.upgrade(connection)
        command.revision(migrations.configuration(connection), message=sys.argv[1], autogenerate=True)


if __name__ == "__main__":
    main()
