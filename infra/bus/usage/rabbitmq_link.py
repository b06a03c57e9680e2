"""One connection to RabbitMQ in a thread of its own: heartbeats and confirms go on whatever its users are doing."""

import logging
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import Any

import pika
from pika.exceptions import AMQPError

from infra.bus.usage.port import BusUnavailable

HEARTBEAT_SECONDS = 30
CONNECT_SECONDS = 5.0
BLOCKED_SECONDS = 10.0
"""How long a broker in an alarm of memory or disk may hold publishers up."""
READY_SECONDS = 15.0
CLOSE_SECONDS = 5.0


# It tells each broken connection in several tracebacks; ours is one line, where it matters.
logging.getLogger("pika").setLevel(logging.CRITICAL)


class Link:
    """It lives once: when it has ended, for whatever reason, its user makes another.

    prepare(channel, ready): asks for what is needed on the open channel and has the broker's last answer call `ready`.
    on_end(why): called once, in the link's thread, when nothing more can come.
    """

    def __init__(
        self, url: str, name: str, prepare: Callable[[Any, Callable[..., None]], None], on_end: Callable[[str], None]
    ) -> None:
        self._prepare, self._on_end = prepare, on_end
        self._ready, self._ended = Event(), Event()
        self._why = "it has not connected yet"
        self._parameters = parameters_of(url, name)
        self._connection: Any = None
        self._calling = Lock()
        self._thread = Thread(target=self._run, name=name, daemon=True)

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    def open(self) -> None:
        """Returns once the channel is prepared. Raises BusUnavailable."""
        self._thread.start()
        if not self._ready.wait(READY_SECONDS) or self.ended:
            self.close()
            raise self.unavailable()

    def call(self, function: Callable[[], None]) -> None:
        """Run it in the link's thread, after what was asked before. Raises BusUnavailable."""
        with self._calling:
            if self.ended or self._connection is None:
                raise self.unavailable()
            self._connection.ioloop.add_callback_threadsafe(function)

    def close(self) -> None:
        """End it after what was asked before; nothing happens if it has ended."""
        with suppress(BusUnavailable):
            self.call(self._leave)
        if self._thread.ident is not None:
            self._thread.join(CLOSE_SECONDS)

    def unavailable(self) -> BusUnavailable:
        return BusUnavailable(f"the usage bus does not answer: {self._why}", remedy="try again in a moment")

    def _run(self) -> None:
        try:
            self._connection = pika.SelectConnection(
                self._parameters,
                on_open_callback=self._on_open,
                on_open_error_callback=self._on_gone,
                on_close_callback=self._on_gone,
            )
            self._connection.ioloop.start()
        except Exception as error:
            # Also what a callback of ours raised: whoever waits for this link must hear of its end.
            self._why = words(error)
        finally:
            with self._calling:
                self._ended.set()
            self._ready.set()
            self._on_end(self._why)
            if self._connection is not None:
                self._connection.ioloop.close()

    def _on_open(self, connection: Any) -> None:
        connection.channel(on_open_callback=self._on_channel)

    def _on_channel(self, channel: Any) -> None:
        channel.add_on_close_callback(self._on_channel_closed)
        self._prepare(channel, lambda *_: self._ready.set())

    def _on_channel_closed(self, _: Any, error: Exception) -> None:
        self._why = words(error)
        self._leave()

    def _on_gone(self, connection: Any, error: Exception | str) -> None:
        if connection.ioloop is not None:
            self._why = self._why if self._ended.is_set() else words(error)
            connection.ioloop.stop()

    def _leave(self) -> None:
        if self._connection.is_open:
            with suppress(AMQPError):
                self._connection.close()
        elif not self._connection.is_closing:
            self._connection.ioloop.stop()


def parameters_of(url: str, name: str) -> Any:
    """What pika connects with."""
    parameters = pika.URLParameters(url)
    parameters.heartbeat = HEARTBEAT_SECONDS
    parameters.blocked_connection_timeout = BLOCKED_SECONDS
    parameters.socket_timeout = CONNECT_SECONDS
    parameters.stack_timeout = CONNECT_SECONDS
    parameters.client_properties = {"connection_name": name}
    return parameters


def words(error: object) -> str:
    """An error of pika in few words; it never holds the URL."""
    return f"{type(error).__name__}: {error}"[:500]
