"""PostgreSQL as the wheel brings it (18) and as markets have it (15 and later): the rules that everything rests on."""

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError

from gridbay.processes.contexts import TABLES
from infra import migrations
from infra.database import LOCK_TIMEOUT_MS, Base, Database

OLDEST = 150_000
assert TABLES


@pytest.fixture(scope="module", params=["embedded", "real"])
def engine(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database with the market's whole schema."""
    database = Database(str(request.getfixturevalue(f"{request.param}_database_url")), pool_size=4)
    with database.engine.begin() as connection:
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS btree_gist"))
        migrations.upgrade(connection)
    yield database
    database.dispose()


@pytest.fixture
def rows(engine: Database) -> Iterator[str]:
    """A table of numbers 1 to 4."""
    with engine.transaction() as session:
        session.execute(text("CREATE TABLE numbers AS SELECT generate_series(1, 4) AS n"))
    yield "numbers"
    with engine.transaction() as session:
        session.execute(text("DROP TABLE numbers"))


def test_it_is_new_enough_and_its_time_is_utc(engine: Database) -> None:
    with engine.read() as session:
        assert int(session.scalar(text("SHOW server_version_num")) or 0) >= OLDEST
        assert session.scalar(text("SHOW TimeZone")) == "UTC"
        assert session.scalar(text("SHOW lock_timeout")) == f"{LOCK_TIMEOUT_MS // 1000}s"


def test_the_migrations_make_every_table(engine: Database) -> None:
    with engine.read() as session:
        found = set(session.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")))
    assert {table.name for table in Base.metadata.sorted_tables} <= found


def test_a_part_of_a_gpu_is_leased_once_at_a_time(engine: Database) -> None:
    def lease(slices: str, released: str = "NULL") -> None:
        with engine.engine.begin() as connection:
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            connection.execute(
                text(
                    "INSERT INTO lease_gpus (lease_id, gpu_id, slice, released_at) "
                    f"VALUES ('lease_' || gen_random_uuid(), 1, '{slices}'::int4multirange, {released})"
                )
            )

    lease("{[0,500)}")
    lease("{[500,1000)}")
    lease("{[0,1000)}", released="now()")
    for overlapping in ("{[499,501)}", "{[0,1000)}", "{[0,1),[999,1000)}"):
        with pytest.raises(IntegrityError, match="exclusion constraint"):
            lease(overlapping)


def test_who_claims_rows_passes_over_those_that_others_claim(engine: Database, rows: str) -> None:
    claim = text(f"SELECT n FROM {rows} ORDER BY n LIMIT 2 FOR UPDATE SKIP LOCKED")
    with engine.transaction() as first, engine.transaction() as second:
        assert list(first.scalars(claim)) == [1, 2]
        assert list(second.scalars(claim)) == [3, 4]
        with engine.transaction() as third:
            assert list(third.scalars(claim)) == []


def test_a_lock_is_not_waited_for_without_end(engine: Database, rows: str) -> None:
    with engine.transaction() as first, engine.engine.connect() as second:
        first.execute(text(f"SELECT n FROM {rows} FOR UPDATE"))
        second.execute(text("SET LOCAL lock_timeout = '10ms'"))
        with pytest.raises(OperationalError, match="lock timeout"):
            second.execute(text(f"SELECT n FROM {rows} FOR UPDATE"))


def test_a_notification_comes_with_the_commit_and_not_before(engine: Database) -> None:
    url = engine.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as listener:
        listener.execute("LISTEN engines")
        with engine.transaction() as session:
            session.execute(text("SELECT pg_notify('engines', 'committed')"))
            assert list(listener.notifies(timeout=0)) == []
        with pytest.raises(ZeroDivisionError), engine.transaction() as session:
            session.execute(text("SELECT pg_notify('engines', 'rolled back')"))
            raise ZeroDivisionError
        assert [notify.payload for notify in listener.notifies(timeout=20, stop_after=1)] == ["committed"]
        assert list(listener.notifies(timeout=0)) == []


def test_what_is_written_again_is_found_by_its_key(engine: Database, rows: str) -> None:
    with engine.transaction() as session:
        session.execute(text(f"CREATE UNIQUE INDEX ON {rows} (n)"))
        insert = text(f"INSERT INTO {rows} SELECT unnest(ARRAY[4, 5, 6]) ON CONFLICT (n) DO NOTHING RETURNING n")
        assert sorted(session.scalars(insert)) == [5, 6]
        assert list(session.scalars(insert)) == []
