"""Private engines and one control plane for the tests of a file; each test gets a market of its own on it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import pytest
from plane import ControlPlane, Engine
from scene import Scene
from soak_size import write_figures
from sqlalchemy import text

from infra import migrations
from infra.database import Database
from infra.embedded.ports import free_port
from infra.embedded.postgres import Postgres
from infra.embedded.valkey import Valkey


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    folder = tmp_path_factory.mktemp("plane")
    with ExitStack() as ends:

        def engine(name: str, server: Postgres | Valkey) -> Engine:
            made = Engine(server, folder / f"{name}.log")
            made.start()
            ends.callback(made.stop)
            return made

        database = engine("postgres", Postgres(folder / "postgres", free_port()))
        broker, cache = (engine(name, Valkey(folder / name, free_port())) for name in ("broker", "cache"))
        _migrate(database.url)
        plane = ControlPlane(folder, database, broker, cache)
        ends.callback(plane.close)
        plane.start()
        yield plane


@pytest.fixture
def scene(plane: ControlPlane, request: pytest.FixtureRequest) -> Iterator[Callable[..., Scene]]:
    """Makes the market of a test: scene(nodes=3, run_seconds=0.3). Afterwards everything is calm again."""
    made: list[Scene] = []

    def make(**options: float) -> Scene:
        made.append(Scene(plane, partial(write_figures, request.node.name), **options))  # type: ignore[arg-type]
        return made[-1]

    plane.calm()
    yield make
    plane.calm()
    for one in made:
        one.close()


def _migrate(url: str) -> None:
    database = Database(url)
    with database.engine.begin() as connection:
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS btree_gist"))
        migrations.upgrade(connection)
    database.dispose()
