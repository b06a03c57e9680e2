"""Migrations: they lead to exactly the schema that the models describe, rules of the ledger included."""

from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import make_url

from gridbay.processes.contexts import TABLES
from gridbay.processes.revise import next_number
from infra import migrations
from infra.database import Base

# What alembic's own comparison does not look at.
RULES = """
SELECT c.relname, t.tgname, pg_get_triggerdef(t.oid), pg_get_functiondef(t.tgfoid)
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal
UNION ALL
SELECT c.relname, k.conname, pg_get_constraintdef(k.oid), ''
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'public' AND c.relname <> 'alembic_version'
UNION ALL
SELECT tablename, indexname, indexdef, '' FROM pg_indexes
WHERE schemaname = 'public' AND tablename <> 'alembic_version'
ORDER BY 1, 2, 3
"""


def rules(connection: Connection) -> list[tuple[str, ...]]:
    return [tuple(row) for row in connection.execute(text(RULES))]


def test_the_newest_migration_is_the_models_schema(postgres_url: str) -> None:
    assert TABLES
    server = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with server.connect() as admin:
        for name in ("migrated", "created"):
            admin.execute(text(f"DROP DATABASE IF EXISTS {name}"))
            admin.execute(text(f"CREATE DATABASE {name}"))
    found = {}
    for name in ("migrated", "created"):
        engine = create_engine(make_url(postgres_url).set(database=name))
        with engine.begin() as connection:
            connection.execute(text("CREATE EXTENSION IF NOT EXISTS btree_gist"))
            if name == "created":
                Base.metadata.create_all(connection)
            else:
                migrations.upgrade(connection)
                migrations.upgrade(connection)
                assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
            found[name] = rules(connection)
        engine.dispose()
    with server.connect() as admin:
        for name in ("migrated", "created"):
            admin.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()
    assert found["migrated"] == found["created"]
    assert len(found["created"]) > 100


def test_a_new_migration_takes_a_number_that_none_has(postgres_url: str) -> None:
    engine = create_engine(postgres_url)
    with engine.connect() as connection:
        configuration = migrations.configuration(connection)
    engine.dispose()
    taken = {path.name[:4] for path in (Path(migrations.__file__).parent / "versions").glob("[0-9]*.py")}
    assert next_number(configuration) == f"{int(max(taken)) + 1:04}"
