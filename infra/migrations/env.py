"""Alembic's environment: the connection is handed in by the migrate process, which also brought every table in."""

from alembic import context

from infra.database import Base

with context.begin_transaction():
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=Base.metadata,
        transaction_per_migration=False,
        compare_server_default=False,
    )
    context.run_migrations()
