"""The far side of the conversation: a real HTTP server that speaks market.agent_api and misbehaves on order."""

import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from market.agent_api import (
    SIGNATURE_HEADER,
    Action,
    AttemptOrder,
    AttemptStatus,
    DesiredAttempt,
    HealthReport,
    JoinAnswer,
    JoinRequest,
    LogAnswer,
    OutputsAnswer,
    OutputsRequest,
    PollAnswer,
    PollRequest,
    Report,
    ReportAnswer,
    Secret,
    Upload,
)
from market.ids import new_id
from market.readings import GENESIS, Reading
from market.resources import Inventory
from market.signing import JOIN_TAG, REPORT_TAG, verify
from market.states import Reason
from provider_agent.minder.layout import boottime_ns

TOKEN = "gba_test-credential"
JOIN_TOKEN = "gbj_test-join-token"
NODE_ID = "node_00000000000000000000000001"


@dataclass
class Fault:
    """What happens to the next `times` requests that match. lose: the work is done and the answer never sent."""

    matches: Callable[[str, str], bool]
    times: int
    lose: bool = False
    status: int = 503


@dataclass
class WantedAttempt:
    """One attempt as the market wants it, and what came in about it. held_until_ns: true, on CLOCK_BOOTTIME."""

    order: AttemptOrder
    lease_id: str
    held_until_ns: int
    gpu_uuids: list[str]
    disk_bytes: int
    action: Action = Action.RUN
    stop_reason: Reason | None = None
    log: bytearray = field(default_factory=bytearray)
    statuses: list[AttemptStatus] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)

    @property
    def exited(self) -> AttemptStatus | None:
        return next((status for status in self.statuses if status.state == "exited"), None)


class FarSide:
    """State under one lock; every change wakes the long polls."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.attempts: dict[str, WantedAttempt] = {}
        self.listed: list[str] = []
        self.version = 1
        self.public_key = ""
        self.blobs: dict[str, bytes] = {}
        self.readings: dict[str, dict[int, Reading]] = {}
        self.durable_max: int | None = None
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        self.polls: list[PollRequest] = []
        self.inventories: list[Inventory] = []
        self.health: list[HealthReport] = []
        self.clock_ahead = timedelta(0)
        self.joined: list[JoinRequest] = []
        self.complaints: list[str] = []
        self.hold_polls_seconds = 0.0
        self.orders_unasked = False
        self.token = TOKEN
        self.url = ""

    def want(self, run: str, *, held_seconds: float = 300.0, **order: Any) -> str:
        """Place an attempt on the node; its id."""
        attempt_id, job_id = new_id("att"), new_id("job")
        archive = order.pop("workdir", None)
        gpu_uuids, disk_bytes = order.pop("gpu_uuids", []), order.pop("disk_bytes", 10**9)
        sha256 = order.pop("workdir_sha256", hashlib.sha256(archive).hexdigest() if archive else None)
        if archive is not None:
            self.blobs[f"workdir/{attempt_id}"] = archive
        secrets = [Secret(name=name, value=value) for name, value in order.pop("secrets", {}).items()]
        defaults: dict[str, Any] = {"env": {}, "outputs": [], "run_for_seconds": 3600, "stop_grace_seconds": 2}
        wanted = AttemptOrder(
            attempt_id=attempt_id,
            job_id=job_id,
            attempt_number=1,
            run=run,
            secrets=secrets,
            workdir_url=f"{self.url}/storage/workdir/{attempt_id}" if archive is not None else None,
            workdir_sha256=sha256,
            **(defaults | order),
        )
        with self.changed:
            held_until_ns = boottime_ns() + round(held_seconds * 1e9)
            self.attempts[attempt_id] = WantedAttempt(wanted, new_id("lease"), held_until_ns, gpu_uuids, disk_bytes)
            self.listed.append(attempt_id)
            self.bump()
        return attempt_id

    def stop(self, attempt_id: str, reason: Reason) -> None:
        with self.changed:
            self.attempts[attempt_id].action = Action.STOP
            self.attempts[attempt_id].stop_reason = reason
            self.bump()

    def unlist(self, attempt_id: str) -> None:
        with self.changed:
            self.listed.remove(attempt_id)
            self.bump()

    def bump(self) -> None:
        self.version += 1
        self.changed.notify_all()

    def fail(self, matches: Callable[[str, str], bool], *, times: int, lose: bool = False, status: int = 503) -> None:
        with self.changed:
            self.faults.append(Fault(matches, times, lose, status))

    def wait(self, condition: Callable[[], Any], seconds: float = 20.0) -> Any:
        """Wait until it holds (whatever it gives), or fail with what was complained about."""
        until = time.monotonic() + seconds
        while True:
            with self.changed:
                if value := condition():
                    return value
                self.changed.wait(0.02)
            assert time.monotonic() < until, f"it did not come to hold; complaints: {self.complaints}"

    def exit_of(self, attempt_id: str, seconds: float = 20.0) -> AttemptStatus:
        status = self.wait(lambda: self.attempts[attempt_id].exited, seconds)
        assert isinstance(status, AttemptStatus)
        return status

    def chains(self, attempt_id: str) -> list[list[Reading]]:
        """The streams of an attempt's lease as far as they are contiguous from 1, each checked to be one chain."""
        found = []
        for stream in self.readings.values():
            chain: list[Reading] = []
            while (following := stream.get(len(chain) + 1)) is not None:
                assert following.previous_hash == (chain[-1].hash if chain else GENESIS)
                assert not chain or following.run_ms >= chain[-1].run_ms
                chain.append(following)
            assert len(chain) == len(stream), "the stream has holes"
            if chain and chain[0].lease_id == self.attempts[attempt_id].lease_id:
                found.append(chain)
        return found

    # What each request does; called under the lock.

    def poll(self, request: PollRequest) -> PollAnswer:
        began = time.monotonic()
        until = began + request.wait_seconds
        self.polls.append(request)
        while request.seen_version == self.version and (left := until - time.monotonic()) > 0:
            self.changed.wait(left)
        waited_ms = int((time.monotonic() - began) * 1000)
        attempts = []
        for attempt_id in self.listed:
            wanted = self.attempts[attempt_id]
            attempts.append(
                DesiredAttempt(
                    attempt_id=attempt_id,
                    attempt_number=1,
                    job_id=wanted.order.job_id,
                    lease_id=wanted.lease_id,
                    action=wanted.action,
                    stop_reason=wanted.stop_reason,
                    held_for_ms=(wanted.held_until_ns - boottime_ns()) // 1_000_000,
                    gpu_uuids=wanted.gpu_uuids,
                    cpu_milli=500,
                    memory_bytes=256 * 2**20,
                    disk_bytes=wanted.disk_bytes,
                    order=wanted.order if self.orders_unasked else None,
                )
            )
        return PollAnswer(
            version=self.version,
            server_time=datetime.now(UTC) + self.clock_ahead,
            attempts=attempts,
            durable_through=self._durable(),
            waited_ms=waited_ms,
        )

    def report(self, body: bytes, signature: str) -> ReportAnswer:
        assert verify(self.public_key, REPORT_TAG, body, signature), "the report's signature is not the node's"
        report = Report.model_validate_json(body)
        for status in report.statuses:
            if status.attempt_id in self.attempts:
                self.attempts[status.attempt_id].statuses.append(status)
        for reading in [*report.readings, *(one for run in report.runs for one in run.readings())]:
            known = self.readings.setdefault(reading.stream_id, {}).setdefault(reading.sequence, reading)
            if known != reading:
                self.complaints.append(f"reading {reading.sequence} came twice with different content")
        self.changed.notify_all()
        return ReportAnswer(accepted=[status.attempt_id for status in report.statuses], durable_through=self._durable())

    def _durable(self) -> dict[str, int]:
        most = self.durable_max
        return {
            stream_id: min(len(readings), most) if most is not None else len(readings)
            for stream_id, readings in self.readings.items()
        }

    def append_log(self, attempt_id: str, offset: int, chunk: bytes) -> LogAnswer:
        log = self.attempts[attempt_id].log
        if offset <= len(log):
            log += chunk[len(log) - offset :]
        self.changed.notify_all()
        return LogAnswer(next_offset=len(log))

    def declare_outputs(self, attempt_id: str, request: OutputsRequest) -> OutputsAnswer:
        wanted = self.attempts[attempt_id]
        wanted.outputs = {file.path: file.sha256 for file in request.files}
        have = {hashlib.sha256(blob).hexdigest() for blob in self.blobs.values()}
        missing = [file.path for file in request.files if file.sha256 not in have]
        return OutputsAnswer(
            uploads=[Upload(path=path, url=f"{self.url}/storage/out/{attempt_id}/{path}") for path in missing]
        )


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    far: FarSide

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        far, path = self.far, self.path
        with far.changed:
            far.requests.append((self.command, path))
            fault = next((one for one in far.faults if one.times > 0 and one.matches(self.command, path)), None)
            if fault is not None:
                fault.times -= 1
        if fault is not None and not fault.lose:
            return self.answer(fault.status, b"an ordered fault")
        status, content = self.work(body)
        if fault is not None:
            # Done, and the answer is lost on the way.
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return None
        return self.answer(status, content)

    do_GET = do_POST = do_PUT = handle_any  # noqa: N815 (the names http.server looks for)

    def work(self, body: bytes) -> tuple[int, bytes]:
        far = self.far
        path, _, query = self.path.partition("?")
        with far.changed:
            if path.startswith("/storage/"):
                return self.storage(path.removeprefix("/storage/"), body)
            if path == "/health":
                return 200, b"{}"
            if path == "/agent/v1/nodes":
                return self.join(body)
            if self.headers.get("Authorization") != f"Bearer {far.token}":
                return 401, b"no"
            try:
                answer = self.agent(path, query, body)
            except AssertionError as error:
                far.complaints.append(str(error))
                return 403, str(error).encode()
            except KeyError:
                return 404, b"unknown"
        if path == "/agent/v1/poll" and far.hold_polls_seconds:
            time.sleep(far.hold_polls_seconds)
        return (204, b"") if answer is None else (200, answer.model_dump_json().encode())

    def agent(self, path: str, query: str, body: bytes) -> Any:
        far = self.far
        if path == "/agent/v1/poll":
            return far.poll(PollRequest.model_validate_json(body))
        if path == "/agent/v1/reports":
            return far.report(body, self.headers[SIGNATURE_HEADER])
        if path == "/agent/v1/health":
            far.health.append(HealthReport.model_validate_json(body))
            return None
        if path == "/agent/v1/inventory":
            far.inventories.append(Inventory.model_validate_json(body))
            return None
        attempt_id, what = path.removeprefix("/agent/v1/attempts/").split("/")
        if what == "order":
            return far.attempts[attempt_id].order
        if what == "log":
            return far.append_log(attempt_id, int(query.removeprefix("offset=")), body)
        return far.declare_outputs(attempt_id, OutputsRequest.model_validate_json(body))

    def join(self, body: bytes) -> tuple[int, bytes]:
        request = JoinRequest.model_validate_json(body)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token != JOIN_TOKEN or not verify(request.public_key, JOIN_TAG, token.encode(), request.possession):
            return 401, json.dumps({"detail": "this join token is not known"}).encode()
        self.far.joined.append(request)
        self.far.public_key = request.public_key
        answer = JoinAnswer(node_id=NODE_ID, provider_id="prv_1", token=TOKEN, offers=["2 CPUs"])
        return 201, answer.model_dump_json().encode()

    def storage(self, key: str, body: bytes) -> tuple[int, bytes]:
        if self.headers.get("Authorization"):
            self.far.complaints.append("the node's credential was sent to storage")
        if self.command == "PUT":
            self.far.blobs[key] = body
            self.far.changed.notify_all()
            return 200, b""
        blob = self.far.blobs.get(key)
        return (404, b"") if blob is None else (200, blob)

    def answer(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """The tests look at what came in, not at an access log."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: Any) -> None:
        """A killed agent leaves its connections broken: that is what some tests are about."""


@contextmanager
def serving(far: FarSide, port: int = 0) -> Iterator[FarSide]:
    """The far side on loopback; with the port it had before, it is back after an outage."""
    handler = type("Handler", (_Handler,), {"far": far})
    server = _Server(("127.0.0.1", port), handler)
    far.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield far
    finally:
        server.shutdown()
        server.server_close()
        with far.changed:
            far.bump()
        thread.join()
