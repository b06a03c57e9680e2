"""The usage bus: carries verified reports from the portal to billing's consumer. One port, two engines."""

from infra.bus.usage.port import BusUnavailable, HandleLater, UsageBus, UsageMessage
from infra.settings import Settings

__all__ = ["BusUnavailable", "HandleLater", "UsageBus", "UsageMessage", "connect_usage_bus"]


def connect_usage_bus(config: Settings) -> UsageBus:
    """The usage bus that the settings name; it connects when it is first used. Raises ValueError for other schemes."""
    url = config.usage_bus_url.get_secret_value()
    scheme = url.partition(":")[0]
    # An engine's library is loaded only where that engine is used.
    if scheme in ("redis", "rediss"):
        from infra.bus.usage.valkey import ValkeyUsageBus  # noqa: PLC0415

        return ValkeyUsageBus(url, config.key_prefix)
    if scheme in ("amqp", "amqps"):
        from infra.bus.usage.rabbitmq import RabbitUsageBus  # noqa: PLC0415

        return RabbitUsageBus(url, config.key_prefix)
    raise ValueError(f"GRIDBAY_USAGE_BUS_URL: {scheme}: is not served; use redis:// or amqp://")
