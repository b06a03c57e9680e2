"""The face of local storage, for markets without S3."""

import sys
from urllib.parse import urlsplit

from starlette.applications import Starlette

from gridbay.processes.http_server import HttpServer
from infra.ground import ground
from infra.logging import configure_logging
from infra.storage.local import LocalStorage
from infra.storage.server import create_storage_app
from infra.telemetry import serve


def main() -> None:
    """Serve the storage folder where the signed URLs point, until told to stop."""
    base = ground()
    configure_logging("storage", base.settings.log_level)
    storage = base.storage
    if not isinstance(storage, LocalStorage):
        sys.exit("storage: GRIDBAY_STORAGE_URL is not a folder, so there is nothing to serve here")

    def load() -> Starlette:
        # In the server's one worker: it is what counts.
        serve(base.settings.metrics_bind)
        return create_storage_app(storage, base.clock)

    HttpServer(urlsplit(base.settings.storage_public_url).netloc, load).run()
