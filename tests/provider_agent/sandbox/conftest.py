"""The node's real sandbox, chosen once, and jobs in it that are gone when the test is over."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from inside import JOBS, Jobs

from provider_agent.sandbox.choice import Choice, SandboxConfig, choose


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """A folder that other users can reach, as pytest's own is not."""
    with tempfile.TemporaryDirectory(prefix="gridbay-sandbox-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="session")
def choice(open_folder: Path) -> Choice:
    return choose(SandboxConfig(JOBS if JOBS.exists() else None), open_folder, allow_plain=False)


@pytest.fixture
def jobs(choice: Choice, tmp_path: Path) -> Iterator[Jobs]:
    """Below pytest's folder, which is closed to every other user: as a node's state is."""
    made = Jobs(tmp_path, choice.sandbox)
    yield made
    made.close()
