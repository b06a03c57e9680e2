"""gunicorn's ASGI worker, made to leave at once: who waits is answered, who is served is finished, who idles is told.

gunicorn's own waits for every open connection, an idle one that is merely kept alive as well, and tells the application
last of all; a deploy would then take as long as the slowest of them, and long polls would hold it up.
"""

import asyncio
from typing import Any

from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.workers import gasgi

LOOK_SECONDS = 0.02
SOCKETS_SECONDS = 2.0
"""How long a WebSocket has to be closed by its caller, once its subscriptions have ended."""


class Connection(ASGIProtocol):  # type: ignore[misc]
    """One connection, known to its worker for as long as it is open."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.worker.connections.add(self)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.worker.connections.discard(self)
        super().connection_lost(exc)

    @property
    def idle(self) -> bool:
        """Kept alive between two requests."""
        return bool(self._awaiting_request and not self._finishing_calls and not self._request_ready.is_set())

    @property
    def is_socket(self) -> bool:
        """A WebSocket: it has no end of its own."""
        return self._websocket is not None

    def end(self) -> None:
        self._close_transport()
        self._request_ready.set()


# The worker makes its connections by this name and offers no other way.
gasgi.ASGIProtocol = Connection


class DrainingWorker(gasgi.ASGIWorker):  # type: ignore[misc]
    """At SIGTERM: accept nothing more, have the application answer who waits, close what idles, finish the rest."""

    alive: bool

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.connections: set[Connection] = set()
        self._serving: asyncio.Task[None] | None = None

    async def _serve(self) -> None:
        self._serving = asyncio.current_task()
        await super()._serve()

    def handle_exit_signal(self) -> None:
        first, self.alive = self.alive, False
        # Its loop sleeps a second at a time; it takes a cancellation as the wish to shut down.
        if first and self.servers and self._serving is not None:
            self._serving.cancel()

    async def _shutdown(self) -> None:
        self.alive = False
        for server in self.servers:
            server.close()
        # Whoever connected just before is here, and is served.
        await asyncio.sleep(0)
        if not self._quick_shutdown:
            self.app.end_waiting(self.asgi)
            await self._drained()
        for connection in list(self.connections):
            connection.end()
        await super()._shutdown()

    async def _drained(self) -> None:
        """Until the last request is answered, or the time for that is over."""
        began = self.loop.time()
        while self.connections and self.loop.time() - began < self.cfg.graceful_timeout and not self._quick_shutdown:
            self.notify()
            late = self.loop.time() - began > SOCKETS_SECONDS
            for connection in list(self.connections):
                if connection.idle or (late and connection.is_socket):
                    connection.end()
            await asyncio.sleep(LOOK_SECONDS)
