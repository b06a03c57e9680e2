"""One portal for all the wrong requests of a module: what they leave behind is looked at, not cleared away."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import structlog
from emptying import empty
from market_at_hand import MarketAtHand
from portal_world import market_variables
from served_market import ServedMarket
from starlette.testclient import TestClient

from billing.treasury import custody
from infra.database import Database
from infra.ground import Ground
from infra.settings import settings
from market.clock import ManualClock
from portal_api.app import create_app


@pytest.fixture(scope="module")
def variables(
    _schema: Database, postgres_url: str, valkey_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """The environment of a market, set; the database is emptied at the end."""
    values = market_variables(tmp_path_factory.mktemp("market"), postgres_url, valkey_url)
    with pytest.MonkeyPatch.context() as patched:
        for name, value in values.items():
            patched.setenv(name, value)
        for cached in (settings, custody.custody):
            cached.cache_clear()
        yield values
    for cached in (settings, custody.custody):
        cached.cache_clear()
    with _schema.engine.begin() as connection:
        empty(connection)


@pytest.fixture(scope="module")
def market(variables: dict[str, str]) -> Iterator[MarketAtHand]:
    """A portal with a node, a rich customer and a stranger with a job."""
    ground = Ground(settings(), ManualClock(datetime.now(UTC)))
    app = create_app(ground)
    with TestClient(app, base_url="http://portal.test", raise_server_exceptions=False) as client:
        yield MarketAtHand(app, ground, client)
    ground.database.dispose()
    ground.cache.close()


@pytest.fixture
def market_server() -> Iterator[ServedMarket]:
    """A small server that answers as it is told."""
    served = ServedMarket()
    yield served
    served.close()


@pytest.fixture(autouse=True)
def _plain_logs() -> Iterator[None]:
    """A traceback as Python prints it: drawing every frame's locals takes seconds."""
    renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, structlog.stdlib.add_log_level, renderer])
    yield
    structlog.reset_defaults()
