"""One gunicorn with its native ASGI worker, configured from our settings; shared by the processes that serve HTTP."""

from collections.abc import Callable
from typing import Any

from gunicorn.app.base import BaseApplication

GRACEFUL_SECONDS = 15
KEEPALIVE_SECONDS = 75
CONNECTIONS_MAX = 10_000


class HttpServer(BaseApplication):  # type: ignore[misc]
    """bind: host:port; load: makes the ASGI application, in the worker, after the fork: nothing is shared."""

    def __init__(self, bind: str, load: Callable[[], Any]) -> None:
        self._bind, self._load = bind, load
        super().__init__()

    def load_config(self) -> None:
        options: dict[str, Any] = {
            "bind": self._bind,
            "workers": 1,
            "worker_class": "asgi",
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
