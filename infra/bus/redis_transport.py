"""Celery's transport on `redis://`, with one client a channel: kombu makes one for every command that it sends, which
takes as long as the command."""

from typing import Any

from kombu.transport import redis


class Channel(redis.Channel):  # type: ignore[misc] # kombu is not typed
    """A client is only a face of the pool of connections, and may be used by all threads."""

    _client_of_pool: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:
            return super()._create_client(asynchronous=True)
        client = self._client_of_pool
        # A connection that was lost leaves a channel with another pool.
        if client is None or client.connection_pool is not self.pool:
            client = self._client_of_pool = super()._create_client()
        return client


class Transport(redis.Transport):  # type: ignore[misc]
    Channel = Channel


def choose_for(app: Any) -> None:
    """Have the connections of a Celery application use it."""
    app.conf.broker_transport = f"{__name__}:Transport"
