"""What a process stands on: its database, cache, storage, bus and clock, made from the settings when first needed."""

from functools import cached_property, lru_cache

import redis

from infra.bus.usage import UsageBus, connect_usage_bus
from infra.database import Database
from infra.secrets import SecretBox
from infra.settings import Settings, settings
from infra.storage import Storage, connect_storage
from infra.wakeups import Waker
from market.clock import Clock, SystemClock


class Ground:
    """The engines of one process."""

    def __init__(self, config: Settings, clock: Clock | None = None) -> None:
        self.settings = config
        self.clock: Clock = clock or SystemClock()

    @cached_property
    def cache(self) -> redis.Redis:
        url = self.settings.cache_url.get_secret_value()
        return redis.Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)

    @cached_property
    def database(self) -> Database:
        url = self.settings.database_url.get_secret_value()
        return Database(url, pool_size=self.settings.database_pool_size, wake=self.waker)

    @cached_property
    def waker(self) -> Waker:
        return Waker(self.cache, self.settings.key("wake"))

    @cached_property
    def storage(self) -> Storage:
        return connect_storage(self.settings, self.secrets)

    @cached_property
    def usage_bus(self) -> UsageBus:
        return connect_usage_bus(self.settings)

    @cached_property
    def secrets(self) -> SecretBox:
        return SecretBox.from_file(self.settings.secret_key_file)


@lru_cache(maxsize=1)
def ground() -> Ground:
    """The ground of this process."""
    return Ground(settings())
