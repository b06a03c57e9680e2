"""Local chains for the tests of this folder, stopped when the test is over."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from local_net import LocalNet


@pytest.fixture
def nets(tmp_path: Path) -> Iterator[Callable[[str], LocalNet]]:
    """Starts the local chain of a name."""
    running: list[LocalNet] = []

    def start(name: str) -> LocalNet:
        running.append(LocalNet(tmp_path / name))
        return running[-1]

    yield start
    for net in running:
        net.close()


@pytest.fixture
def net(nets: Callable[[str], LocalNet]) -> LocalNet:
    return nets("chain")
