"""The pool's connections: one that died while nobody used it is replaced before anybody notices."""

import pytest
from sqlalchemy import text

from infra import database as databases
from infra.database import Database

PID = text("SELECT pg_backend_pid()")
END = text("SELECT pg_terminate_backend(:pid, 5000)")


@pytest.mark.parametrize("trusted_seconds", [0.0, 3600.0], ids=["that idled long", "that was in use just now"])
def test_a_connection_that_died_is_replaced(
    database: Database, monkeypatch: pytest.MonkeyPatch, trusted_seconds: float
) -> None:
    monkeypatch.setattr(databases, "TRUSTED_SECONDS", trusted_seconds)
    own = Database(database.engine.url.render_as_string(hide_password=False), pool_size=1)
    try:
        with own.read() as session:
            pid = session.scalar(PID)
        with database.read() as session:
            assert session.scalar(END, {"pid": pid})
        with own.read() as session:
            assert session.scalar(PID) != pid
    finally:
        own.dispose()
