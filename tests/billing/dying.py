"""Kills what runs in this process right after one of its steps: a call of the chain, or a commit."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.orm import Session

from billing.chains.port import Chain
from infra.database import Database


class Killed(BaseException):
    """The process dies here."""


class Dying:
    """Counts the steps of a settler, its calls of the chain and its commits, and dies right after one of them.

    Dying before a step leaves the same world behind as dying after the one before it.
    """

    def __init__(self, at: int | None = None) -> None:
        self.at, self.steps = at, 0

    def step(self) -> None:
        if self.steps == self.at:
            raise Killed
        self.steps += 1

    def chain(self, chain: Chain) -> Any:
        dying = self

        class Proxy:
            def __getattr__(self, name: str) -> Callable[..., Any]:
                def call(*arguments: Any) -> Any:
                    answer = getattr(chain, name)(*arguments)
                    dying.step()
                    return answer

                return call

        return Proxy()

    def database(self, database: Database) -> Any:
        dying = self

        class Proxy:
            engine = database.engine
            read = staticmethod(database.read)

            @staticmethod
            @contextmanager
            def transaction() -> Iterator[Session]:
                with database.transaction() as session:
                    yield session
                dying.step()

        return Proxy()
