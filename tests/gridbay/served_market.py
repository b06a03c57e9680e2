"""A small real HTTP server that answers as a market's portal does, with market.customer_api's own models.

It stands in for the portal where a test needs answers, faults and moments that a real one gives only by chance:
broken connections, refusals, logs that come piece by piece. The whole market is tested end to end elsewhere.
"""

import json
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel

from market.customer_api import Problem


@dataclass(frozen=True)
class Seen:
    """A request as it arrived; parts: what the route's wildcards stood for."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    parts: tuple[str, ...] = ()

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    """body: a model, plain data or bytes; events: server-sent ones, instead of a body; drop: break off at the end."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    events: Iterable[bytes] | None = None
    drop: bool = False


Handler = Callable[[Seen], Answer]


def problem(status: int, code: str, detail: str, **more: Any) -> Answer:
    body = Problem(type=f"urn:gridbay:problem:{code}", title="Refused", status=status, detail=detail, code=code, **more)
    return Answer(body, status, {"Content-Type": "application/problem+json"})


def event(name: str, data: BaseModel | str, event_id: str | None = None) -> bytes:
    text = data.model_dump_json() if isinstance(data, BaseModel) else data
    lines = [f"event: {name}", *([f"id: {event_id}"] if event_id else []), *(f"data: {t}" for t in text.split("\n"))]
    return ("\n".join(lines) + "\n\n").encode()


class ServedMarket:
    """routes: "METHOD /path/{}" to what answers it; faults: answers given before the route's own, first come."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.routes: dict[str, Handler] = {}
        self._faults: defaultdict[str, deque[Answer]] = defaultdict(deque)
        self._lost: defaultdict[str, int] = defaultdict(int)
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def on(self, route: str, answer: Any) -> None:
        """answer: a handler, or what it always answers."""
        if callable(answer):
            self.routes[route] = answer
        else:
            self.routes[route] = lambda _: answer if isinstance(answer, Answer) else Answer(answer)

    def fail_next(self, route: str, *faults: Answer) -> None:
        """These come instead of the route's answer, one a request."""
        self._faults[route].extend(faults)

    def lose_answers(self, route: str, count: int) -> None:
        """The route does its work, but the connection breaks before the answer is there."""
        self._lost[route] = count

    def asked(self, route: str) -> list[Seen]:
        """The requests that the route got."""
        return [seen for seen in self.seen if _match(route, seen.method, seen.path) is not None]

    def answer(self, seen: Seen) -> Answer | None:
        """None: the connection breaks."""
        self.seen.append(seen)
        for route, handler in self.routes.items():
            parts = _match(route, seen.method, seen.path)
            if parts is None:
                continue
            if self._faults[route]:
                fault = self._faults[route].popleft()
                return None if fault.drop and fault.events is None else fault
            answer = handler(Seen(seen.method, seen.path, seen.query, seen.headers, seen.body, parts))
            if self._lost[route]:
                self._lost[route] -= 1
                return None
            return answer
        return problem(404, "no_such_route", f"there is nothing at {seen.path}")


def _match(route: str, method: str, path: str) -> tuple[str, ...] | None:
    wanted_method, wanted = route.split(" ")
    ours, theirs = wanted.split("/"), path.split("/")
    if wanted_method != method or len(ours) != len(theirs):
        return None
    if any(a not in ("{}", b) for a, b in zip(ours, theirs, strict=True)):
        return None
    return tuple(b for a, b in zip(ours, theirs, strict=True) if a == "{}")


def _handler_of(market: ServedMarket) -> type[BaseHTTPRequestHandler]:
    class Portal(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def serve(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", 0)))
            answer = market.answer(Seen(self.command, parts.path, query, headers, body))
            if answer is None:
                self.close_connection = True
            elif answer.events is not None:
                self._stream(answer, answer.events)
            else:
                self._send(answer, _bytes_of(answer.body))

        do_GET = do_POST = do_PUT = do_DELETE = serve  # noqa: N815 (http.server names them)

        def _send(self, answer: Answer, body: bytes) -> None:
            self.send_response(answer.status)
            for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _stream(self, answer: Answer, events: Iterable[bytes]) -> None:
            self.send_response(answer.status)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.close_connection = True
            try:
                for item in _flushed(events):
                    self.wfile.write(f"{len(item):x}\r\n".encode() + item + b"\r\n")
                if not answer.drop:
                    self.wfile.write(b"0\r\n\r\n")
            except OSError:
                # The reader has seen enough.
                return

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet: `seen` has it."""

    return Portal


def _flushed(events: Iterable[bytes]) -> Iterator[bytes]:
    yield b": follow\n\n"
    yield from events


def _bytes_of(body: Any) -> bytes:
    if isinstance(body, bytes):
        return body
    if isinstance(body, BaseModel):
        return body.model_dump_json().encode()
    plain = [item.model_dump(mode="json") if isinstance(item, BaseModel) else item for item in body]
    return json.dumps(plain if isinstance(body, list) else body).encode()
