"""What every test may stand on: a real PostgreSQL, a real Valkey, a clock that only moves when told."""

import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import redis
from emptying import empty
from real_engines import own_database
from sqlalchemy import text
from sqlalchemy.orm import Session

from gridbay.processes.contexts import TABLES
from infra import migrations
from infra.database import Database
from infra.embedded.ephemeral import ephemeral_postgres, ephemeral_valkey
from infra.writing import WritingSession
from market.clock import ManualClock
from scheduler.rounds import placing

assert TABLES, "every table is in the metadata"

# A shell's background jobs ignore Ctrl-C, and so would every process that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--on-servers", action="store_true", help="only tests of a database, and those of tests/engines")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --on-servers what stands on no server is left out: it has nothing new to say on another one."""
    if config.getoption("--on-servers"):
        config.hook.pytest_deselected(items=[item for item in items if not _on_a_server(item)])
        items[:] = filter(_on_a_server, items)


def _on_a_server(item: pytest.Item) -> bool:
    return "engines" in item.path.parts or "postgres_url" in getattr(item, "fixturenames", ())


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A server of this run alone, or a database of our own on the server that GRIDBAY_TEST_DATABASE_URL names."""
    server = os.environ.get("GRIDBAY_TEST_DATABASE_URL")
    if server is None and os.environ.get("GRIDBAY_REQUIRE_ENGINES"):
        pytest.fail("GRIDBAY_REQUIRE_ENGINES asks for real servers, and GRIDBAY_TEST_DATABASE_URL is not set")
    with own_database(server) if server else ephemeral_postgres() as url:
        yield url


@pytest.fixture(scope="session")
def _schema(postgres_url: str) -> Iterator[Database]:
    database = Database(postgres_url, pool_size=20)
    with database.engine.begin() as connection:
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS btree_gist"))
        migrations.upgrade(connection)
    yield database
    database.dispose()


@pytest.fixture
def session(_schema: Database) -> Iterator[Session]:
    """A session whose work is undone after the test."""
    with _schema.engine.connect() as connection, connection.begin() as outer:
        with WritingSession(connection, join_transaction_mode="create_savepoint", expire_on_commit=False) as session:
            yield session
        outer.rollback()


@pytest.fixture
def database(_schema: Database) -> Iterator[Database]:
    """The database itself, for tests that need several transactions; emptied afterwards."""
    yield _schema
    with _schema.engine.begin() as connection:
        empty(connection)
    # Emptying is told to nobody.
    placing.market.forget()


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    with ephemeral_valkey() as url:
        yield url


@pytest.fixture
def cache(valkey_url: str) -> Iterator[redis.Redis]:
    """A Valkey that is empty at the start of each test."""
    client = redis.Redis.from_url(valkey_url)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def clock() -> ManualClock:
    """Years ahead: what the database stamps by its own clock lies in this one's past, whenever the tests run."""
    return ManualClock(datetime(2036, 11, 21, 12, 0, tzinfo=UTC))
