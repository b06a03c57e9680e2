"""A portal on a real PostgreSQL and Valkey, served in this process, and a market to fill it with."""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis
import structlog
from portal_world import PortalWorld

from billing import custody
from infra.database import Database
from infra.ground import Ground
from infra.secrets import SecretBox
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
    from solders.keypair import Keypair

    key, treasury = tmp_path / "secret.key", tmp_path / "treasury.json"
    key.write_text(SecretBox.generate_key())
    treasury.write_text(Keypair().to_json())
    for file in (key, treasury):
        file.chmod(0o600)
    values = {
        "DATABASE_URL": postgres_url,
        "CACHE_URL": valkey_url,
        "USAGE_BUS_URL": valkey_url,
        "STORAGE_URL": f"file://{tmp_path / 'storage'}",
        "STORAGE_PUBLIC_URL": "http://storage.test",
        "SECRET_KEY_FILE": str(key),
        "TREASURY_KEYPAIR": str(treasury),
        "LONG_POLL_SECONDS": "3",
    }
    for name, value in values.items():
        monkeypatch.setenv(f"GRIDBAY_{name}", value)
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
