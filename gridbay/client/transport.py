"""One HTTP conversation with a market: the credential, the bounds, the refusals, and what is safely asked again."""

import json as json_module
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar, cast
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError

from gridbay.client.patience import OnRetry, Patience
from gridbay.client.refusals import NotAMarket, foreign, refusal
from market.errors import InvalidInput, MarketError, Unavailable

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
SILENCE_SECONDS = 60.0
"""A stream that says nothing for so long, not even that it lives, is broken."""
ANSWER_MAX_BYTES = 64 * 1024 * 1024
RETRY_AFTER_MAX_SECONDS = 10.0
DEFAULT_PATIENCE_SECONDS = 15.0

_REPEATABLE_METHODS = frozenset({"GET", "PUT", "DELETE"})
TOO_MANY = 429
_BUSY_STATUSES = frozenset({TOO_MANY, 502, 503, 504})
_IN_FLIGHT_CODE = "idempotency_key_in_flight"


Answer = TypeVar("Answer")


class TryAgain(Exception):
    """An answer that invites the same request again.

    after_seconds: when, if the market said so; nothing_done: the request was certainly turned away at the door.
    """

    def __init__(self, error: MarketError, after_seconds: float | None, *, nothing_done: bool = False) -> None:
        super().__init__(error.detail)
        self.error, self.after_seconds, self.nothing_done = error, after_seconds, nothing_done


class Transport:
    """token: the credential; patience_seconds: how long a market that does not answer is asked again."""

    def __init__(self, url: str, token: str, *, patience_seconds: float, on_retry: OnRetry | None = None) -> None:
        self.url = url.rstrip("/")
        if not (token.isascii() and token.isprintable()) or " " in token:
            raise InvalidInput("the token holds characters that no token has", remedy="copy it anew")
        self._patience_seconds, self._on_retry = patience_seconds, on_retry
        encrypted = _is_encrypted(self.url)
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}", "User-Agent": "gridbay-python/1"},
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            # Loading the certificates takes as long as a request: not where there is no TLS.
            verify=encrypted,
        )

    def close(self) -> None:
        self._http.close()

    def patience(self) -> Patience:
        return Patience(self._patience_seconds, self._on_retry)

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = False,
        insist: bool = True,
    ) -> httpx.Response:
        """The successful answer; raises the MarketError it was refused with, Unavailable if there is none.

        repeatable: the same POST twice has the effect of one (it carries an Idempotency-Key, or changes nothing).
        insist: ask again where the market says that it cannot answer now.
        """
        repeatable = repeatable or method in _REPEATABLE_METHODS
        content = _encoded(json) if json is not None else None
        typed = {"Content-Type": "application/json"} if content is not None else {}
        patience = self.patience()
        while True:
            request = self._http.build_request(
                method, path, content=content, params=_query(params), headers={**typed, **(headers or {})}
            )
            try:
                return self._once(request)
            except TryAgain as refused:
                may_repeat = insist and (repeatable or refused.nothing_done)
                if not may_repeat or not patience.wait(str(refused), refused.after_seconds):
                    raise refused.error from None
            except httpx.TransportError as error:
                may_repeat = repeatable or isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
                if not may_repeat or not patience.wait(_reason(error)):
                    raise self.unreachable(error) from None
            except httpx.HTTPError as error:
                raise NotAMarket(f"{self.url} does not answer as a market does: {_reason(error)}") from None

    def ask(self, kind: type[Answer], method: str, path: str, **request: Any) -> Answer:
        """The same as `request`, its answer read as that type. Raises NotAMarket for another one."""
        response = self.request(method, path, **request)
        try:
            answer: Answer = _reader(cast(Any, kind)).validate_json(response.content)
            return answer
        except ValidationError:
            raise foreign(response) from None

    @contextmanager
    def stream(
        self,
        path: str,
        *,
        headers: Mapping[str, str],
        params: Mapping[str, Any] | None = None,
        silence_seconds: float | None = None,
    ) -> Iterator[httpx.Response]:
        """A streamed GET, tried once; raises TryAgain, httpx.TransportError, or the refusal."""
        waits = httpx.Timeout(silence_seconds or SILENCE_SECONDS, connect=CONNECT_SECONDS)
        with self._http.stream("GET", path, headers=headers, params=_query(params), timeout=waits) as response:
            if not response.is_success:
                response.read()
                raise _refused(response)
            yield response

    def unreachable(self, error: Exception) -> Unavailable:
        """The refusal that a failed connection amounts to."""
        return Unavailable(
            f"the market at {self.url} does not answer: {_reason(error)}",
            remedy="check the URL (`gridbay login`), or start a market on this machine with `gridbay up`",
        )

    def _once(self, request: httpx.Request) -> httpx.Response:
        body = bytearray()
        streamed = self._http.send(request, stream=True)
        try:
            for piece in streamed.iter_bytes():
                body += piece
                if len(body) > ANSWER_MAX_BYTES:
                    raise Unavailable(f"{request.url.path} answered with more than {ANSWER_MAX_BYTES} bytes")
        finally:
            streamed.close()
        headers = [(name, value) for name, value in streamed.headers.items() if name != "content-encoding"]
        response = httpx.Response(streamed.status_code, headers=headers, content=bytes(body), request=request)
        if not response.is_success:
            raise _refused(response)
        return response


def storage_client(url: str) -> httpx.Client:
    """For signed URLs, which carry their own right: the market's credential never goes to a storage."""
    return httpx.Client(timeout=httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS), verify=_is_encrypted(url))


@lru_cache(maxsize=128)
def _reader(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def segment(name: str) -> str:
    """A name as one part of a path, whatever it holds. Raises InvalidInput for what cannot be one."""
    if name in ("", ".", ".."):
        raise InvalidInput(f"{name!r} is not a name of anything here")
    return quote(name, safe="", errors="surrogateescape")


def _encoded(value: Any) -> bytes:
    """Escaped, so that any text can be sent, and refused where it belongs."""
    try:
        return json_module.dumps(value, allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidInput(
            f"this cannot be said in JSON: {error}", remedy="use plain data and finite numbers"
        ) from None


def _is_encrypted(url: str) -> bool:
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError):
        parsed = httpx.URL("")
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InvalidInput(f"{url!r} is not a URL", remedy="write it like https://market.example")
    return parsed.scheme == "https"


def _refused(response: httpx.Response) -> Exception:
    error = refusal(response)
    if response.status_code in _BUSY_STATUSES or error.code == _IN_FLIGHT_CODE:
        after = response.headers.get("Retry-After", "")
        seconds = min(float(after), RETRY_AFTER_MAX_SECONDS) if after.isascii() and after.isdigit() else None
        return TryAgain(error, seconds, nothing_done=response.status_code == TOO_MANY)
    return error


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def _query(params: Mapping[str, Any] | None) -> dict[str, str | list[str]]:
    """Without what is None; a list is a parameter that is said several times."""
    return {
        name: [_text(item) for item in value] if isinstance(value, list) else _text(value)
        for name, value in (params or {}).items()
        if value is not None
    }


def _text(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
