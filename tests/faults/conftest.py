"""Private engines and one control plane for the tests of a file; each test gets a market of its own on it."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest
from engines import Engine, started
from plane import ControlPlane
from scene import Scene
from soak_size import write_figures

from infra.embedded.ports import free_port
from infra.embedded.valkey import Valkey


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    folder = tmp_path_factory.mktemp("plane")
    with started(folder, Engine(Valkey(folder / "broker", free_port()), folder / "broker.log")) as plane:
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
