"""Attempts run by real minders, all gone when the test is over."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import Attempts

from provider_agent.minder import control


@pytest.fixture
def attempts(tmp_path: Path) -> Iterator[Attempts]:
    made = Attempts(tmp_path)
    yield made
    for folder in made.folders:
        control.kill(folder)


@pytest.fixture
def marked() -> str:
    """A command line found in no other process of this machine: `sleep` takes any number."""
    return f"sleep 1000.{secrets.randbelow(10**12):012d}"
