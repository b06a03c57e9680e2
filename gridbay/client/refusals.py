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


class NotAMarket(Unavailable):
    """Another server answers at the URL, or a proxy in front of the market."""

    code = "not_a_market"


def refusal(response: httpx.Response) -> MarketError:
    """The refusal that an answer which is no success amounts to. response: already read."""
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:
        return foreign(response)
    kind = _by_code().get(problem.code) or _by_status(response.status_code)
    places = [FieldError(**item.model_dump()) for item in problem.errors]
    error = kind(problem.detail, remedy=problem.remedy, errors=places)
    # A code of a newer market stays readable, whatever type stands for it here.
    error.code, error.request_id = problem.code, problem.request_id
    return error


def storage_refusal(response: httpx.Response) -> MarketError:
    """The refusal of a storage, which speaks as it likes. response: already read."""
    body = " ".join(response.text.split())[:DETAIL_MAX_CHARACTERS]
    said = f"the storage at {response.request.url.host} answered {response.status_code} {response.reason_phrase}"
    remedy = "begin again: a signed URL is good for a while, and for the size it was asked for"
    return _by_status(response.status_code)(f"{said}: {body}".rstrip(": "), remedy=remedy)


def foreign(response: httpx.Response) -> MarketError:
    """An answer that is not the market's own: a proxy's page, or another server altogether."""
    body = " ".join(response.text.split())[:DETAIL_MAX_CHARACTERS]
    said = f"{response.request.url} answered {response.status_code} {response.reason_phrase}".rstrip()
    return NotAMarket(f"{said}, and not as a market does{f': {body}' if body else ''}")


def _by_code() -> dict[str, type[MarketError]]:
    """Only the shared language's own: what others derive from it may be made in other ways."""
    return {kind.code: kind for kind in _descendants(MarketError) if kind.__module__.startswith("market.")}


def _descendants(kind: type[MarketError]) -> Iterator[type[MarketError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _descendants(child)


def _by_status(status: int) -> type[MarketError]:
    return _BY_STATUS.get(status, Unavailable if status >= 500 or status == 429 else InvalidInput)
