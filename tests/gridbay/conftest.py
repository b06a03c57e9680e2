"""A served market for the tests of the SDK and the command line."""

from collections.abc import Iterator

import pytest
from served_market import ServedMarket


@pytest.fixture
def market() -> Iterator[ServedMarket]:
    served = ServedMarket()
    yield served
    served.close()
