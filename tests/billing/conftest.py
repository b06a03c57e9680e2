"""Books to write in: an organization, a provider, and the messages that the scheduler would send."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from books import Books
from sqlalchemy import RootTransaction
from sqlalchemy.orm import Session

from infra.database import Database
from infra.writing import WritingSession
from market.clock import ManualClock

# The local chain of the chain's own tests.
sys.path.append(str(Path(__file__).parent / "chains"))
from local_net import LocalNet


@pytest.fixture
def books(session: Session, clock: ManualClock) -> Books:
    return Books(session, clock)


@pytest.fixture
def fresh_books(database: Database) -> Iterator[Callable[[], Books]]:
    """Books that are empty each time they are asked for: for laws that are tried on many examples."""
    connection = database.engine.connect()
    transactions: list[RootTransaction] = []

    def start() -> Books:
        if transactions:
            transactions.pop().rollback()
        transactions.append(connection.begin())
        session = WritingSession(connection, join_transaction_mode="create_savepoint", expire_on_commit=False)
        return Books(session, Books.manual_clock())

    yield start
    if transactions:
        transactions.pop().rollback()
    connection.close()


@pytest.fixture
def net(tmp_path: Path) -> Iterator[LocalNet]:
    """The local chain, whose time passes only when told."""
    net = LocalNet(tmp_path / "chain")
    yield net
    net.close()
