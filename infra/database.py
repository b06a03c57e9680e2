"""The database: the metadata all tables share, and the one place where a transaction begins and commits."""

import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import JSON, BigInteger, DateTime, Engine, MetaData, create_engine, event
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

from infra import telemetry
from infra.wakeups import pending_topics
from infra.writing import WritingSession

LOCK_TIMEOUT_MS = 5_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 10_000
STATEMENT_TIMEOUT_MS = 60_000
RANDOM_PAGE_COST = 1.1
"""What is hot is in memory. By the server's default, a turning disk's, five hundred jobs by their keys are found by
reading all of them."""
TRUSTED_SECONDS = 1.0
"""A connection that was in use so shortly ago, and on which nothing has come since, is not asked whether it lives."""
PREPARE_AFTER = 1 << 30
"""Only what asks for it is prepared (infra/statements.py), and planned for good: left alone the server plans one with a
list in it again each time, which for a short list takes as long as to run it. What SQLAlchemy writes has parameters
where a partial index needs the value itself, and is planned with its values each time."""


class Base(DeclarativeBase):
    """The base of every table. Text is unbounded in the database; the API bounds it. Times are timestamptz."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {int: BigInteger, dict[str, Any]: JSON().with_variant(JSONB(), "postgresql")}


# datetime is mapped separately so that every column is timezone-aware without saying so.
Timestamp = DateTime(timezone=True)


class Database:
    """A pool of connections that write, and as large a one of those that cannot.

    wake: told the topics of a transaction after it has committed.
    """

    def __init__(self, url: str, *, pool_size: int = 6, wake: Callable[[set[str]], None] | None = None) -> None:
        # Compiling a report's statement takes longer than running it (jit).
        options = (
            f"-c lock_timeout={LOCK_TIMEOUT_MS} -c statement_timeout={STATEMENT_TIMEOUT_MS} "
            f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT_MS} -c timezone=UTC "
            f"-c random_page_cost={RANDOM_PAGE_COST} -c plan_cache_mode=force_generic_plan -c jit=off"
        )
        self.engine = _engine(url, pool_size, options)
        # A transaction around what only reads would show it nothing more (READ COMMITTED), for two trips to the server.
        read_only = f"{options} -c default_transaction_read_only=on"
        self._reading = _engine(url, pool_size, read_only, isolation_level="AUTOCOMMIT")
        self._sessions = sessionmaker(self.engine, class_=WritingSession, expire_on_commit=False)
        self._readers = sessionmaker(self._reading, class_=WritingSession, expire_on_commit=False)
        self._wake = wake

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """The one commit point: commits when the block ends, rolls back when it raises, then wakes who waits."""
        with self._sessions() as session:
            with session.begin():
                yield session
            telemetry.committed(session)
            topics = pending_topics(session)
        if topics and self._wake is not None:
            self._wake(topics)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that can only read; the database refuses its writes. What it loaded may be used afterwards.

        Each of its statements sees what was committed when it began.
        """
        with self._readers() as session:
            yield session
            # What it was given to write is sent, and refused.
            session.commit()

    def dispose(self) -> None:
        self.engine.dispose()
        self._reading.dispose()


def _engine(url: str, pool_size: int, options: str, **more: Any) -> Engine:
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        # The one that was used last has the most prepared.
        pool_use_lifo=True,
        connect_args={"options": options, "connect_timeout": 5, "prepare_threshold": PREPARE_AFTER},
        **more,
    )
    _ask_after_idling(engine)
    return engine


def _ask_after_idling(engine: Engine) -> None:
    """Take a connection that idled only if it answers; the pool makes another one then."""

    @event.listens_for(engine, "checkin")
    def note(_: object, record: Any) -> None:
        record.info["used_at"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def ask(connection: Any, record: Any, _: object) -> None:
        idle = time.monotonic() - record.info.get("used_at", 0.0)
        if idle > TRUSTED_SECONDS or _has_spoken(connection):
            try:
                engine.dialect.do_ping(connection)
            except psycopg.Error as error:
                raise DisconnectionError(str(error)) from None


def _has_spoken(connection: psycopg.Connection[Any]) -> bool:
    """Whether a connection that was asked nothing has something to read: as a rule, that the server ended it."""
    watched = select.poll()
    watched.register(connection.fileno(), select.POLLIN)
    return bool(watched.poll(0))


def is_away(error: BaseException) -> bool:
    """Whether the database could not serve just then: unreachable, busy, or it ended a connection that idled too long.

    Nothing of the transaction is kept, and the same may be tried again.
    """
    if isinstance(error, OperationalError | InterfaceError | PoolTimeout):
        return True
    return isinstance(error, DBAPIError) and error.connection_invalidated
