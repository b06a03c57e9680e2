"""Writes a migration: what the models say beyond the newest migration, found on an empty database of its own."""

import sys

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from gridbay.processes.contexts import TABLES
from infra import migrations
from infra.embedded.ephemeral import ephemeral_postgres


def main() -> None:
    """Write infra/migrations/versions/<number>_<message>.py; the message is the only argument.

    Alembic does not see CHECK constraints, triggers and functions: those are added by hand, and
    tests/infra/test_migrations.py says which are missing.
    """
    if len(sys.argv) != 2 or not sys.argv[1].strip():
        sys.exit('usage: make migration MESSAGE="what changes"')
    assert TABLES
    with ephemeral_postgres() as url, create_engine(url).begin() as connection:
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS btree_gist"))
        migrations.upgrade(connection)
        configuration = migrations.configuration(connection)
        command.revision(configuration, message=sys.argv[1], autogenerate=True, rev_id=next_number(configuration))


def next_number(configuration: Config) -> str:
    """One above the newest migration's; a number may be missing below it."""
    newest = max(int(script.revision) for script in ScriptDirectory.from_config(configuration).walk_revisions())
    return f"{newest + 1:04}"


if __name__ == "__main__":
    main()
