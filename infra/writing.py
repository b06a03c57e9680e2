"""Writing behind: what a transaction writes gathers, and goes in one statement before anything is read or committed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import ORMExecuteState, Session, SessionTransaction

from infra.statements import Statement


@dataclass(frozen=True, slots=True)
class Write:
    """A part of a WITH statement. steps: "name{n} AS (...)", its parameters named "...{n}" as well.

    last: what is selected at the end for its effect alone; empty when the steps are the effect. tables: what it
    writes; no table is written twice by one statement, since its parts do not see each other.
    """

    tables: frozenset[str]
    steps: str
    parameters: Mapping[str, Any]
    last: str = ""


@dataclass(slots=True)
class _Gathered:
    writes: list[Write] = field(default_factory=list)
    tables: set[str] = field(default_factory=set)


class WritingSession(Session):
    """A session whose `write` waits for the next statement that reads; `no_autoflush` holds it back past that."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._gathered = _Gathered()

    def write(self, write: Write) -> None:
        """Take a write on. What the unit of work has to insert goes first, as it was added first."""
        if self.new or self.deleted:
            self.flush()
        if self._gathered.tables & write.tables:
            self.send_writes()
        self._gathered.writes.append(write)
        self._gathered.tables |= write.tables

    def send_writes(self) -> None:
        """Send what has gathered now. Raises what the database refuses."""
        if not self._gathered.writes:
            return
        gathered, self._gathered = self._gathered, _Gathered()
        statement, parameters = _statement(gathered.writes)
        statement.run(super().connection(), parameters)

    def forget_writes(self) -> None:
        self._gathered = _Gathered()

    def flush(self, objects: Any = None) -> None:
        """Comes before every read of the unit of work and before a savepoint, too."""
        self.send_writes()
        super().flush(objects)

    def connection(self, *arguments: Any, **options: Any) -> Any:
        self.send_writes()
        return super().connection(*arguments, **options)


def write(session: Session, write: Write) -> None:
    """As the session's own `write`: every session of a Database has it."""
    assert isinstance(session, WritingSession), "sessions come from Database"
    session.write(write)


@event.listens_for(WritingSession, "do_orm_execute")
def _before_reading(state: ORMExecuteState) -> None:
    """Plain SQL reads as well, and nothing is flushed for it."""
    if state.session.autoflush and isinstance(state.session, WritingSession):
        state.session.send_writes()


@event.listens_for(WritingSession, "before_commit")
def _before_commit(session: Session) -> None:
    if isinstance(session, WritingSession):
        session.send_writes()


@event.listens_for(WritingSession, "after_soft_rollback")
def _after_rollback(session: Session, _: SessionTransaction) -> None:
    if isinstance(session, WritingSession):
        session.forget_writes()


_statements: dict[tuple[tuple[str, str], ...], Statement] = {}
STATEMENTS_MAX = 256


def _statement(writes: list[Write]) -> tuple[Statement, dict[str, Any]]:
    """The statement of these writes (each kind is built once) and its parameters."""
    kind = tuple((write.steps, write.last) for write in writes)
    statement = _statements.get(kind)
    if statement is None:
        if len(_statements) >= STATEMENTS_MAX:
            _statements.clear()
        steps = ", ".join(write.steps.replace("{n}", str(n)) for n, write in enumerate(writes))
        lasts = [write.last.replace("{n}", str(n)) for n, write in enumerate(writes) if write.last]
        statement = _statements[kind] = Statement(f"WITH {steps} {' UNION ALL '.join(lasts) or 'SELECT 1'}")
    parameters = {
        name.replace("{n}", str(n)): value for n, write in enumerate(writes) for name, value in write.parameters.items()
    }
    return statement, parameters
