"""What the database could not do just then is said as that, to be tried again; a fault of ours is not."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from infra.database import Database, is_away
from market.error_codes import Kind
from portal_api.problems import refusal_of

IDLE = "SELECT count(*) FROM pg_stat_activity WHERE pid = :pid"


def test_a_transaction_that_the_database_ended_for_idling_may_be_tried_again(database: Database) -> None:
    with pytest.raises(DBAPIError) as ended, database.transaction() as session:
        pid = session.scalar(text("SELECT pg_backend_pid()"))
        session.execute(text("SET LOCAL idle_in_transaction_session_timeout = 1"))
        with database.read() as another:
            while another.scalar(text(IDLE), {"pid": pid}):
                another.rollback()
        session.execute(text("SELECT 1"))
    assert is_away(ended.value)
    refusal = refusal_of(ended.value)
    assert refusal is not None and refusal.kind is Kind.UNAVAILABLE


def test_a_statement_that_is_wrong_stays_wrong(database: Database) -> None:
    with pytest.raises(DBAPIError) as wrong, database.transaction() as session:
        session.execute(text("SELECT 1 / 0 FROM nowhere"))
    assert not is_away(wrong.value)
    assert refusal_of(wrong.value) is None
