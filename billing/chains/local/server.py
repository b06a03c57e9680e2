"""The local chain as a process: JSON-RPC over HTTP on loopback, until SIGTERM.

The faucet gives money to whoever asks, so the server listens on loopback only, and takes only JSON: a web page
cannot send that to another origin without asking first.
"""

import ipaddress
import json
import logging
import signal
import socketserver
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import socket
from typing import Any, Final

from billing.chains.local.faults.faces import faces_of
from billing.chains.local.faults.plan import FaultPlan
from billing.chains.local.genesis import open_chain
from billing.chains.local.jsonrpc import Dispatcher, Silence
from billing.chains.local.methods import Methods
from billing.chains.local.slots import Timing
from billing.chains.local.view import View
from infra.telemetry import REQUESTS

BODY_BYTES_MAX: Final = 256 * 1024
CONNECTIONS_MAX: Final = 128
IDLE_SECONDS_MAX: Final = 30.0
log = logging.getLogger(__name__)


class LocalChainServer:
    """A local chain and its port, open from construction to `close`; `run` answers requests until `stop`."""

    def __init__(
        self,
        state_dir: Path,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        timing: Timing | None = None,
        clock: Callable[[], float] = time.monotonic,
        unix: Callable[[], float] = time.time,
        faults: FaultPlan | None = None,
    ) -> None:
        """faults: for tests; the chain has faces besides, at `face_urls`, that answer as the plan says."""
        if not ipaddress.ip_address(host).is_loopback:
            raise ValueError(f"the local chain gives money to whoever asks: it listens on loopback, not on {host}")
        self.chain, self.market = open_chain(state_dir, timing or Timing(), clock, unix)
        try:
            whole = Dispatcher(self.chain, Methods(View(self.chain), self.market).table)
            faces = faces_of(self.chain, self.market, faults)[0] if faults is not None else []
            dispatchers = {f"/faces/{number}": face for number, face in enumerate(faces)}
            self._http = _Server((host, port), whole, dispatchers)
        except BaseException:
            self.chain.close()
            raise
        self.url = f"http://{host}:{self._http.server_address[1]}"
        self.face_urls = [self.url + path for path in dispatchers]

    def run(self, stop_seconds: float = 0.25) -> None:
        """Returns that long after `stop` at most; an idle server wakes as often to look."""
        self._http.serve_forever(poll_interval=stop_seconds)

    def stop(self) -> None:
        """Make `run` return; not to be called from the thread that is in `run`."""
        self._http.shutdown()

    def close(self) -> None:
        self._http.server_close()
        with self.chain.lock:
            self.chain.close()


def serve(state_dir: Path, host: str, port: int, *, timing: Timing | None = None) -> None:
    """Run the local chain of this folder until SIGTERM or SIGINT. Call it in the main thread."""
    if not logging.getLogger().handlers:
        _log_json_lines()
    started_at = time.monotonic()
    server = LocalChainServer(state_dir, host, port, timing=timing)
    stopping = threading.Event()

    def stop(signum: int, _: object) -> None:
        if not stopping.is_set():
            stopping.set()
            # shutdown() waits for the loop that this very thread is running
            threading.Thread(target=server.stop, daemon=True).start()

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, stop)
    log.info(
        "local chain ready",
        extra={
            "url": server.url,
            "state_dir": str(state_dir),
            "mint": server.market.mint,
            "treasury": server.market.treasury,
            "start_seconds": round(time.monotonic() - started_at, 3),
        },
    )
    try:
        server.run()
    finally:
        server.close()
        log.info("local chain stopped", extra={"url": server.url})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = CONNECTIONS_MAX

    def __init__(self, address: tuple[str, int], whole: Dispatcher, faces: Mapping[str, Dispatcher]) -> None:
        self._whole, self._faces = whole, faces
        self._free = threading.BoundedSemaphore(CONNECTIONS_MAX)
        super().__init__(address, _Handler)

    def dispatcher(self, path: str) -> Dispatcher:
        return self._faces.get(path, self._whole)

    def server_bind(self) -> None:
        # HTTPServer's own looks the host's name up, which can hang where there is no network.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            log.warning("too many connections", extra={"connections_max": CONNECTIONS_MAX})
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: socket | tuple[bytes, socket], client_address: Any) -> None:
        # Mostly clients that hang up; the default prints to stderr.
        log.info("a connection broke", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    timeout = IDLE_SECONDS_MAX
    # headers and body are two writes; Nagle's algorithm would put 40 ms between them
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self._began = time.perf_counter()
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self._reply(HTTPStatus.LENGTH_REQUIRED, b"")
        elif int(length) > BODY_BYTES_MAX:
            self._reply(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b"")
        elif self.headers.get_content_type() != "application/json":
            self._reply(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, b"")
        else:
            body = self.rfile.read(int(length))
            try:
                self._reply(HTTPStatus.OK, self.server.dispatcher(self.path).answer(body))
            except Silence:
                self.close_connection = True
                self._count("none")

    def _reply(self, status: HTTPStatus, body: bytes) -> None:
        # After a refusal the unread body would be taken for the next request.
        self.close_connection = self.close_connection or status != HTTPStatus.OK
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self._count(str(int(status)))

    def _count(self, status: str) -> None:
        REQUESTS.labels("POST", "rpc", status).observe(time.perf_counter() - self._began)

    def version_string(self) -> str:
        return "gridbay-local-chain"

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: the default prints each to stderr."""


class _JsonLine(logging.Formatter):
    """One JSON object a line, with what the call passed as `extra`."""

    _standard = frozenset(logging.makeLogRecord({}).__dict__)

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        line |= {key: value for key, value in record.__dict__.items() if key not in self._standard}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def _log_json_lines() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonLine())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
