"""The database: the metadata all tables share, and the one place where a transaction begins and commits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, MetaData, create_engine
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

from infra import telemetry
from infra.wakeups import pending_topics
from infra.writing import WritingSession

LOCK_TIMEOUT_MS = 5_000
IDLE_IN_TRANSACTION_TIMEOUT_MS = 10_000
STATEMENT_TIMEOUT_MS = 60_000


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
    """A pool of connections. wake: told the topics of a transaction after it has committed."""

    def __init__(self, url: str, *, pool_size: int = 6, wake: Callable[[set[str]], None] | None = None) -> None:
        options = (
            f"-c lock_timeout={LOCK_TIMEOUT_MS} -c statement_timeout={STATEMENT_TIMEOUT_MS} "
            f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT_MS} -c timezone=UTC"
        )
        self.engine = create_engine(
            url,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=10,
            pool_pre_ping=True,
            connect_args={"options": options, "connect_timeout": 5},
        )
        self._sessions = sessionmaker(self.engine, class_=WritingSession, expire_on_commit=False)
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
        """A session that only reads; nothing it does is kept. What it loaded may be used afterwards."""
        with self._sessions() as session:
            yield session

    def dispose(self) -> None:
        self.engine.dispose()


def is_away(error: BaseException) -> bool:
    """Whether the database could not serve just then: unreachable, busy, or it ended a connection that idled too long.

    Nothing of the transaction is kept, and the same may be tried again.
    """
    if isinstance(error, OperationalError | InterfaceError | PoolTimeout):
        return True
    return isinstance(error, DBAPIError) and error.connection_invalidated
