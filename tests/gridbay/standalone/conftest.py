"""Markets of small trees, each on its own state folder, as root and as a plain user."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from awaiting import until
from markets import RunningUp, Start
from users import USERS, give_to


@pytest.fixture(params=USERS)
def user(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def folder(user: str) -> Iterator[Path]:
    # Not tmp_path: another user must be able to get there.
    root = Path(tempfile.mkdtemp(prefix="gridbay-test-"))
    give_to(user, root)
    yield root / "state"
    # What dies with its namespace may write until it is gone.
    until(lambda: _removed(root), "an end of all that writes there")


def _removed(folder: Path) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


@pytest.fixture
def start(folder: Path, user: str) -> Iterator[Start]:
    """Starts a market of a small tree on the folder; nothing of it is left after the test."""
    started: list[RunningUp] = []

    def start(tree: str = "servers", before: tuple[str, ...] = ()) -> RunningUp:
        started.append(RunningUp(folder, tree, user, before))
        return started[-1]

    yield start
    for market in started:
        market.close()
