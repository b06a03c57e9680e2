"""The world that the proofs' tests act in."""

import pytest
from proving_world import ProvingWorld, small_challenges

from infra.database import Database
from market.clock import ManualClock


@pytest.fixture
def proving(database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> ProvingWorld:
    small_challenges(monkeypatch)
    return ProvingWorld(database, clock)
