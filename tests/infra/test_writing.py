"""What is written waits and goes in one statement: before anything reads, at a savepoint's edges and at the commit."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Connection, event, func, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from infra.bulk import insert_rows, write_changes
from infra.database import Database
from infra.outbox import publish
from infra.outbox.tables import OutboxMessage
from infra.statements import Statement
from market.messages import WalletChanged
from scheduler.tables import Provider, Workdir

AT = datetime(2036, 11, 21, tzinfo=UTC)
COUNT = select(func.count()).select_from(Provider)


@pytest.fixture
def sent(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The statements that went to the server."""
    found: list[str] = []
    run = Statement.run

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        found.append(statement)

    def note_and_run(self: Statement, connection: Connection, values: Mapping[str, Any], *more: Any) -> list[Any]:
        found.append(self.sql)
        return run(self, connection, values, *more)

    monkeypatch.setattr(Statement, "run", note_and_run)
    event.listen(database.engine, "before_cursor_execute", note)
    yield found
    event.remove(database.engine, "before_cursor_execute", note)


def _provider(number: int) -> dict[str, Any]:
    return {"id": f"prv_{number}", "name": "somebody", "created_at": AT}


def _told(number: int) -> WalletChanged:
    return WalletChanged(provider_id=f"prv_{number}", wallet_address="w", changed_at=AT)


def test_what_was_written_of_loaded_rows_is_not_looked_at_again(database: Database, sent: list[str]) -> None:
    with database.transaction() as session:
        insert_rows(session, Provider, [_provider(1), _provider(2)])
    with database.transaction() as session:
        rows = session.scalars(select(Provider)).all()
        for row in rows:
            row.name = "renamed"
        write_changes(session)
        assert not session.dirty
        rows[0].name = "again"
        write_changes(session)
    with database.read() as session:
        assert set(session.scalars(select(Provider.name))) == {"renamed", "again"}
    assert sum("UPDATE providers" in sql for sql in sent) == 2


def test_rows_of_several_tables_and_messages_go_in_one_statement(database: Database, sent: list[str]) -> None:
    with database.transaction() as session:
        insert_rows(session, Provider, [_provider(1), _provider(2)])
        workdir = {"organization_id": "org", "sha256": "s", "size_bytes": 1, "declared_at": AT}
        insert_rows(session, Workdir, [workdir])
        publish(session, _told(1))
        assert sent == []
    assert len(sent) == 1
    with database.read() as session:
        assert session.scalar(COUNT) == 2
        assert session.scalar(select(func.count()).select_from(OutboxMessage)) == 1


def test_whoever_reads_sees_what_was_written(database: Database) -> None:
    with database.transaction() as session:
        insert_rows(session, Provider, [_provider(1)])
        assert session.scalar(COUNT) == 1
        insert_rows(session, Provider, [_provider(2)])
        assert session.scalar(text("SELECT count(*) FROM providers")) == 2, "plain SQL sees it, too"


def test_two_writes_to_a_table_do_not_meet_in_one_statement(database: Database, sent: list[str]) -> None:
    with database.transaction() as session:
        insert_rows(session, Provider, [_provider(1)])
        insert_rows(session, Provider, [_provider(2)])
    assert len(sent) == 2
    with database.transaction() as session:
        row = session.get_one(Provider, "prv_1")
        for name in ("first", "second"):
            row.name = name
            write_changes(session)
    with database.read() as session:
        assert session.get_one(Provider, "prv_1").name == "second"


def test_a_refusal_comes_at_the_next_read_and_nothing_stays(database: Database) -> None:
    with pytest.raises(IntegrityError), database.transaction() as session:
        insert_rows(session, Provider, [_provider(1), _provider(1)])
        session.scalar(COUNT)
    with database.read() as session:
        assert session.scalar(COUNT) == 0


def test_a_savepoint_takes_back_what_was_written_in_it_and_nothing_else(database: Database) -> None:
    with database.transaction() as session:
        insert_rows(session, Provider, [_provider(1)])
        inner = session.begin_nested()
        insert_rows(session, Provider, [_provider(2)])
        inner.rollback()
        with session.begin_nested():
            insert_rows(session, Provider, [_provider(3)])
    with database.read() as session:
        assert session.scalars(select(Provider.id).order_by(Provider.id)).all() == ["prv_1", "prv_3"]


def test_what_was_added_before_goes_before(database: Database, sent: list[str]) -> None:
    with database.transaction() as session:
        session.add(Provider(**_provider(1)))
        insert_rows(session, Provider, [_provider(2)])
    assert len(sent) == 2
    assert "prv_1" not in sent[1]


def test_nothing_is_held_back_when_a_transaction_is_given_up(database: Database) -> None:
    class GivenUp(Exception):
        pass

    with pytest.raises(GivenUp), database.transaction() as session:
        insert_rows(session, Provider, [_provider(1)])
        raise GivenUp
    with database.read() as session:
        assert session.scalar(COUNT) == 0


def test_a_session_that_reads_cannot_write(database: Database) -> None:
    with pytest.raises(DBAPIError, match="read-only"), database.read() as session:
        insert_rows(session, Provider, [_provider(1)])
