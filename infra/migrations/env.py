"""Alembic's environment: the connection is handed in by the migrate process, which also brought every table in."""

from alembic import context

from infra.database import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    compare_server_default=False,
)
with context.begin_transaction():
    context.run_migrations()
