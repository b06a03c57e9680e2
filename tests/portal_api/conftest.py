"""A portal on a real PostgreSQL and Valkey, served in this process, and a market to fill it with."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis
import structlog
from portal_world import PortalWorld, market_variables

from billing.treasury import custody
from infra.database import Database
from infra.ground import Ground
from infra.settings import Settings, settings
from market.clock import ManualClock
from portal_api.app import create_app


@pytest.fixture(autouse=True)
def _plain_logs() -> Iterator[None]:
    """A traceback as Python prints it: drawing every frame's locals takes seconds."""
    renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, structlog.stdlib.add_log_level, renderer])
    yield
    structlog.reset_defaults()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def config(postgres_url: str, valkey_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """The settings of a whole market, in the environment, as every process of it finds them."""
    for name, value in market_variables(tmp_path, postgres_url, valkey_url).items():
        monkeypatch.setenv(name, value)
    for cached in (settings, custody.custody):
        cached.cache_clear()
    yield settings()
    for cached in (settings, custody.custody):
        cached.cache_clear()


@pytest.fixture
def base(config: Settings, database: Database, cache: redis.Redis) -> Iterator[Ground]:
    """The ground of the portal. Its clock is the wall's until a test moves it."""
    ground = Ground(config, ManualClock(datetime.now(UTC)))
    yield ground
    ground.database.dispose()
    ground.cache.close()


@pytest.fixture
async def world(base: Ground) -> AsyncIterator[PortalWorld]:
    """The portal, started, with clients for everybody."""
    app = create_app(base)
    async with app.router.lifespan_context(app), PortalWorld(app, base) as world:
        yield world
