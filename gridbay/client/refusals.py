"""What the market refuses, as the exceptions of market.errors: from RFC 9457 documents back to types."""

from collections.abc import Iterator

import httpx
from pydantic import ValidationError

from market.customer_api import Problem
from market.errors import (
    Conflict,
    FieldError,
    Forbidden,
    InsufficientFunds,
    InvalidInput,
    MarketError,
    NotFound,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

DETAIL_MAX_CHARACTERS = 500

_BY_STATUS: dict[int, type[MarketError]] = {
    401: Unauthenticated,
    402: InsufficientFunds,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
}


def refusal(response: httpx.Response) -> MarketError:
    """The refusal that an answer which is no success amounts to. response: already read."""
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        return _foreign(response)
    kind = _by_code().get(problem.code) or _by_status(response.status_code)
    places = [FieldError(item.get("pointer", ""), item.get("detail", "")) for item in problem.errors]
    error = kind(problem.detail, remedy=problem.remedy, errors=places)
    # A code of a newer market stays readable, whatever type stands for it here.
    error.code = problem.code
    return error


def _by_code() -> dict[str, type[MarketError]]:
    """Only the shared language's own: what others derive from it may be made in other ways."""
    return {kind.code: kind for kind in _descendants(MarketError) if kind.__module__.startswith("market.")}


def _descendants(kind: type[MarketError]) -> Iterator[type[MarketError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _descendants(child)


def _by_status(status: int) -> type[MarketError]:
    return _BY_STATUS.get(status, Unavailable if status >= 500 or status == 429 else InvalidInput)


def _foreign(response: httpx.Response) -> MarketError:
    """An answer that is not the market's own: a proxy's page, or another server altogether."""
    body = " ".join(response.text.split())[:DETAIL_MAX_CHARACTERS]
    error = _by_status(response.status_code)(
        f"{response.request.url.host} answered {response.status_code} {response.reason_phrase}"
        + (f": {body}" if body else ""),
        remedy="check that the URL is a Gridbay market's",
    )
    error.code = f"http_{response.status_code}"
    return error
