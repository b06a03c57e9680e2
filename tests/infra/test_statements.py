"""Statements on the driver itself: their values, their rows, and errors as SQLAlchemy has them."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from infra.bulk import insert_rows
from infra.database import Database, is_away
from infra.statements import Statement, among
from market.states import AttemptState
from scheduler.tables import Provider

ECHO = Statement("SELECT unnest(cast(:values AS text[])) AS value")
CREATED = "2036-11-21T12:00:00+00:00"
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(TEXTS | st.none() | st.sampled_from(AttemptState)))
def test_a_list_arrives_as_it_was_given(database: Database, values: list[str | None]) -> None:
    with database.read() as session:
        assert [row.value for row in ECHO.rows(session, {"values": values})] == values


def test_a_name_is_one_value_wherever_it_stands_and_a_cast_is_no_name(session: Session) -> None:
    twice = Statement("SELECT cast(:a AS bigint) + :b::bigint + cast(:a AS bigint) AS total")
    assert twice.rows(session, {"b": 1, "a": 20})[0].total == 41


def test_what_was_written_is_seen_but_not_where_it_is_held_back(session: Session) -> None:
    count = Statement("SELECT count(*) AS found FROM providers WHERE id = ANY(cast(:ids AS text[]))")
    insert_rows(session, Provider, [{"id": "prv_1", "name": "somebody", "created_at": CREATED}])
    with session.no_autoflush:
        assert count.rows(session, {"ids": ["prv_1"]})[0].found == 0
    assert count.rows(session, {"ids": ["prv_1", "prv_2"]})[0].found == 1
    assert session.scalars(select(Provider.id).where(among(Provider.id, ["prv_2", "prv_1"]))).all() == ["prv_1"]


def test_what_the_database_refuses_is_an_integrity_error(database: Database) -> None:
    twice = Statement("INSERT INTO providers (id, name, created_at) VALUES (:id, '', now()), (:id, '', now())")
    with pytest.raises(IntegrityError, match="pk_providers"), database.transaction() as session:
        twice.rows(session, {"id": "prv_1"})


def test_a_lost_connection_is_told_as_one_and_the_next_one_is_sound(database: Database) -> None:
    end_myself = Statement("SELECT pg_terminate_backend(pg_backend_pid())")
    with pytest.raises(OperationalError) as caught, database.transaction() as session:
        end_myself.rows(session, {})
    assert is_away(caught.value)
    with database.read() as session:
        assert ECHO.rows(session, {"values": ["well"]})[0].value == "well"
