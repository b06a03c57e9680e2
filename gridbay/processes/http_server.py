"""One gunicorn with its native ASGI worker, configured from our settings; shared by the processes that serve HTTP."""

from collections.abc import Callable
from typing import Any

from gunicorn.app.base import BaseApplication

GRACEFUL_SECONDS = 15
KEEPALIVE_SECONDS = 75
CONNECTIONS_MAX = 10_000


class HttpServer(BaseApplication):  # type: ignore[misc]
    """bind: host:port; load: makes the ASGI application, in the worker, after the fork: nothing is shared.

    end_waiting: called with the application when the worker is told to stop, so that it answers who waits.
    """

    def __init__(
        self, bind: str, load: Callable[[], Any], *, end_waiting: Callable[[Any], None] = lambda _: None
    ) -> None:
        self._bind, self._load = bind, load
        self.end_waiting = end_waiting
        super().__init__()

    def load_config(self) -> None:
        options: dict[str, Any] = {
            "bind": self._bind,
            "workers": 1,
            # By its name: the parent loads no worker's code.
            "worker_class": "gridbay.processes.draining.DrainingWorker",
            "worker_connections": CONNECTIONS_MAX,
            "graceful_timeout": GRACEFUL_SECONDS,
            "keepalive": KEEPALIVE_SECONDS,
            "loglevel": "warning",
            # Several servers of one machine would share the socket's path.
            "control_socket_disable": True,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        return self._load()
