"""Migrations, and on an embedded market the first organization, provider and credentials. Runs once and ends."""

import os
from pathlib import Path

from sqlalchemy import select, text

from gridbay.processes.contexts import TABLES
from infra import migrations
from infra.database import Base
from infra.ground import Ground, ground
from infra.logging import configure_logging
from portal_api.identity.bootstrap import bootstrap
from portal_api.identity.tables import Organization

MIGRATION_LOCK = 0x67726964


def main() -> None:
    """Bring the database at GRIDBAY_DATABASE_URL to the newest schema; a second run changes nothing."""
    base = ground()
    configure_logging("migrate", base.settings.log_level)
    assert len(Base.metadata.tables) > len(TABLES)
    with base.database.engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS btree_gist"))
        migrations.upgrade(connection)
    if base.settings.embedded and base.settings.state_dir is not None:
        _credentials(base, base.settings.state_dir / "credentials.json")
    base.database.dispose()


def _credentials(base: Ground, path: Path) -> None:
    """Make the local identities, once a database; the file comes first: none is left without its credential."""
    with base.database.transaction() as session:
        if path.exists() and session.scalar(select(Organization.id).limit(1)) is not None:
            return
        credentials = bootstrap(session, base.clock.now())
        part = path.with_suffix(".part")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(credentials.model_dump_json(indent=2))
        part.replace(path)
