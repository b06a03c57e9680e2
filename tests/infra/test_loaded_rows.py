"""Loading: a plain statement leaves in the session what a query of the unit of work would have left there."""

import subprocess
import sys
from datetime import UTC, datetime

import pytest
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from infra.bulk import insert_rows, write_changes
from infra.loading import Loading
from scheduler.tables import Provider, Workdir

AT = datetime(2036, 11, 21, tzinfo=UTC)
PROVIDERS = Loading({"provider": Provider}, "FROM providers AS provider ORDER BY provider.id FOR NO KEY UPDATE")
RENAME = text("UPDATE providers SET name = 'renamed' WHERE id = 'prv_1'")


@pytest.fixture
def two(session: Session) -> Session:
    """A session with two providers in its database, of which it has loaded nothing."""
    insert_rows(session, Provider, [{"id": f"prv_{n}", "name": "somebody", "created_at": AT} for n in (1, 2)])
    session.flush()
    return session


def test_loaded_rows_are_the_unit_of_works(two: Session) -> None:
    first, second = (provider for (provider,) in PROVIDERS.rows(two, {}))
    assert (first.id, first.name, first.created_at) == ("prv_1", "somebody", AT)
    assert not two.dirty and not two.new and first in two
    assert two.get(Provider, "prv_2") is second, "one row is one object, however it was loaded"


def test_what_is_changed_of_them_is_written(two: Session) -> None:
    first, _ = (provider for (provider,) in PROVIDERS.rows(two, {}))
    first.name = "another"
    assert two.dirty
    write_changes(two)
    assert two.scalars(text("SELECT name FROM providers ORDER BY id")).all() == ["another", "somebody"]


def test_the_database_has_the_last_word_on_rows_that_were_loaded_before(two: Session) -> None:
    known = two.scalars(select(Provider).where(Provider.id == "prv_1")).one()
    two.execute(RENAME)
    assert known.name == "somebody"
    [(first,), _] = PROVIDERS.rows(two, {})
    assert first is known and known.name == "renamed" and not two.dirty


def test_what_was_written_before_goes_first(two: Session) -> None:
    insert_rows(two, Provider, [{"id": "prv_3", "name": "somebody", "created_at": AT}])
    assert [provider.id for (provider,) in PROVIDERS.rows(two, {})] == ["prv_1", "prv_2", "prv_3"]


def test_several_models_of_a_row_come_in_the_order_in_which_they_are_named(two: Session) -> None:
    pairs = Loading(
        {"b": Provider, "a": Provider}, "FROM providers AS a JOIN providers AS b ON b.id > a.id WHERE a.id = :first"
    )
    [(later, earlier)] = pairs.rows(two, {"first": "prv_1"})
    assert (later.id, earlier.id) == ("prv_2", "prv_1")


def test_it_needs_no_query_before_it() -> None:
    """As in a worker that begins with a delivery: nothing has configured the models yet."""
    first = (
        "from sqlalchemy.orm import Session; from infra.loading import _Shape; from scheduler.tables import Provider; "
    )
    shape = "shape = _Shape.of(Provider); print(shape.load(Session(), tuple(shape.names)).id)"
    done = subprocess.run([sys.executable, "-c", first + shape], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("id\n", "")


def test_no_row_is_no_object(session: Session) -> None:
    assert Loading({"workdir": Workdir}, "FROM workdirs AS workdir").rows(session, {}) == []
