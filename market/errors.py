"""Refusals: each is a type with a kind, a stable code, a place and a remedy; never an HTTP status."""

from collections.abc import Sequence
from dataclasses import dataclass

from market.error_codes import Kind, usual_remedy


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing that is wrong with an input.

    pointer: RFC 6901 JSON pointer into the body ("" is the whole of it); detail: what is wrong and how to mend it;
    code: one of error_codes.FIELD_CODES; suggestion: what was probably meant, to stand in place of what is there;
    source: body, query, path or header; parameter: its name, where the source is not the body.
    """

    pointer: str
    detail: str
    code: str = "invalid"
    suggestion: str = ""
    source: str = "body"
    parameter: str = ""


class MarketError(Exception):
    """A refusal that a person can act on.

    code: stable and machine readable, one of error_codes.CODES; detail: what happened, in a sentence; remedy: what to
    do about it (the code's usual one unless given); errors: the places in the input, if it was the input;
    request_id: the market's number of the request that was refused, "" for what was refused here.
    """

    kind: Kind = Kind.INVALID
    code: str = "invalid_input"
    request_id: str = ""

    def __init__(self, detail: str, *, remedy: str = "", errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.remedy = remedy or usual_remedy(self.code)
        self.errors = tuple(errors)


class InvalidInput(MarketError):
    kind, code = Kind.INVALID, "invalid_input"


class NotFound(MarketError):
    """Also answers for what belongs to somebody else: the two look the same."""

    kind, code = Kind.NOT_FOUND, "not_found"


class Unauthenticated(MarketError):
    kind, code = Kind.UNAUTHENTICATED, "unauthenticated"


class Forbidden(MarketError):
    kind, code = Kind.FORBIDDEN, "forbidden"


class Conflict(MarketError):
    kind, code = Kind.CONFLICT, "conflict"


class InsufficientFunds(MarketError):
    kind, code = Kind.NO_FUNDS, "insufficient_funds"


class NoOffer(MarketError):
    kind, code = Kind.CONFLICT, "no_offer"


class TooLarge(MarketError):
    kind, code = Kind.TOO_LARGE, "too_large"


class Unavailable(MarketError):
    kind, code = Kind.UNAVAILABLE, "unavailable"


class StaleAttempt(MarketError):
    """An attempt that is no longer the newest tried to change its job: the fence."""

    kind, code = Kind.STALE, "stale_attempt"


class IllegalTransition(MarketError):
    kind, code = Kind.CONFLICT, "illegal_transition"
