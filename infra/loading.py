"""Loading rows of models by plain statements: they are as a query of the unit of work would leave them (ADR 0010)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from psycopg.rows import tuple_row
from sqlalchemy import Dialect
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.orm import Session, configure_mappers, make_transient_to_detached
from sqlalchemy.orm.attributes import instance_dict, set_committed_value

from infra.database import Base
from infra.statements import Statement

_DIALECT: Dialect = PGDialect_psycopg()  # type: ignore[no-untyped-call]

Reader = Callable[[Any], Any]


@dataclass(frozen=True)
class Loading:
    """A statement that loads whole rows of these models, each named by its alias.

    clauses: the SQL after the columns, from FROM on. What the rows say takes the place of what the session had loaded
    of them before.
    """

    models: Mapping[str, type[Base]]
    clauses: str

    def rows(self, session: Session, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """For each row of the database the loaded row of each model, in the order in which they are named."""
        found = self._statement.rows(session, values, tuple_row)
        loaded = []
        for row in found:
            begin, instances = 0, []
            for shape in self._shapes:
                end = begin + len(shape.names)
                instances.append(shape.load(session, row[begin:end]))
                begin = end
            loaded.append(tuple(instances))
        return loaded

    @cached_property
    def _shapes(self) -> list["_Shape"]:
        return [_Shape.of(model) for model in self.models.values()]

    @cached_property
    def _statement(self) -> Statement:
        columns = ", ".join(
            f'"{alias}"."{name}"'
            for alias, shape in zip(self.models, self._shapes, strict=True)
            for name in shape.names
        )
        return Statement(f"SELECT {columns} {self.clauses}")


@dataclass(frozen=True, slots=True)
class _Shape:
    """key: where the primary key's columns are; readers: what makes a value of what the driver gave, where it is more
    than that."""

    model: type[Base]
    names: tuple[str, ...]
    key: tuple[int, ...]
    readers: tuple[tuple[int, Reader], ...]

    @classmethod
    def of(cls, model: type[Base]) -> "_Shape":
        # A query would see to it, and there may have been none before this.
        configure_mappers()
        columns = model.__mapper__.columns
        names = tuple(columns.keys())
        read = ((place, _reader(columns[name].type)) for place, name in enumerate(names))
        key = tuple(place for place, name in enumerate(names) if columns[name].primary_key)
        return cls(model, names, key, tuple((place, reader) for place, reader in read if reader is not None))

    def load(self, session: Session, given: tuple[Any, ...]) -> Base:
        values = list(given)
        for place, reader in self.readers:
            values[place] = reader(values[place])
        key = self.model.__mapper__.identity_key_from_primary_key(tuple(values[place] for place in self.key))
        known: Base | None = session.identity_map.get(key)
        if known is not None:
            for name, value in zip(self.names, values, strict=True):
                set_committed_value(known, name, value)
            return known
        row: Base = self.model.__mapper__.class_manager.new_instance()
        instance_dict(row).update(zip(self.names, values, strict=True))
        make_transient_to_detached(row)
        session.add(row)
        return row


def _reader(kind: Any) -> Reader | None:
    reader: Reader | None = kind.dialect_impl(_DIALECT).result_processor(_DIALECT, None)
    return reader
