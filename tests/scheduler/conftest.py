"""The world that the scheduler's tests act in."""

import pytest
from market_world import World
from sqlalchemy.orm import Session

from market.clock import ManualClock


@pytest.fixture
def world(session: Session, clock: ManualClock) -> World:
    return World(session, clock)
