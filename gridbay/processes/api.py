"""The portal's process: every HTTP face of the market but storage."""

from fastapi import FastAPI

from gridbay.processes.http_server import HttpServer
from gridbay.processes.interpreter import settle_interpreter
from infra.ground import ground
from infra.logging import configure_logging


def main() -> None:
    """Serve until told to stop; requests under way are answered first."""
    configure_logging("api", ground().settings.log_level)
    HttpServer(ground().settings.bind, _portal, end_waiting=_end_waiting).run()


def _portal() -> FastAPI:
    # Imported in the worker alone: gunicorn's parent stays small.
    from portal_api.app import create_app  # noqa: PLC0415

    app = create_app(ground())
    settle_interpreter()
    return app


def _end_waiting(app: FastAPI) -> None:
    """Answer every long poll and end every stream now: their callers come back to whoever serves next."""
    app.state.portal.end_waiting()
