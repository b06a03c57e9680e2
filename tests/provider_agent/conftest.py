"""A far side, and agents in processes of their own that are gone when the test is over, with all their minders."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from agent_process import AgentProcess
from fake_driver import FakeDriver, build
from far_side import JOIN_TOKEN, FarSide, serving

from provider_agent.join import Offering, join


@pytest.fixture
def far() -> Iterator[FarSide]:
    with serving(FarSide()) as far:
        yield far


@pytest.fixture
def on_state() -> Iterator[Callable[[Path], AgentProcess]]:
    """Agents over given state folders; whatever runs on them ends with the test."""
    agents: list[AgentProcess] = []

    def make(state: Path) -> AgentProcess:
        agents.append(AgentProcess(state))
        return agents[-1]

    yield make
    for agent in agents:
        agent.close()


@pytest.fixture
def joined(far: FarSide, tmp_path: Path, on_state: Callable[[Path], AgentProcess]) -> Callable[..., AgentProcess]:
    """Makes joined state folders."""
    names = (f"agent-{number}" for number in itertools.count())

    def make(**offering: str) -> AgentProcess:
        state = tmp_path / next(names)
        join(state, far.url, JOIN_TOKEN, Offering(name="test", **offering), sandbox="bubblewrap")
        return on_state(state)

    return make


@pytest.fixture
def agent(joined: Callable[..., AgentProcess]) -> AgentProcess:
    """A running agent."""
    return joined().start()


@pytest.fixture(scope="session")
def driver_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the fake driver's library."""
    return build(tmp_path_factory.mktemp("driver"))


@pytest.fixture
def driver(driver_library: Path, tmp_path: Path) -> FakeDriver:
    """A driver that shows two GPUs of which all is well, until it is told otherwise."""
    return FakeDriver(driver_library, tmp_path / "steering")
