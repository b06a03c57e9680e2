"""Refusals: each is a type with a kind, a stable code, a place and a remedy; never an HTTP status."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What sort of refusal it is; one table in portal_api maps kinds to statuses."""

    INVALID = "invalid"
    NOT_YET = "not_yet"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    STALE = "stale"
    NO_FUNDS = "no_funds"
    TOO_LARGE = "too_large"
    TOO_MANY = "too_many"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing that is wrong with an input.

    pointer: RFC 6901 JSON pointer into the input ("" is the whole of it); detail: what is wrong and how to mend it.
    """

    pointer: str
    detail: str


class MarketError(Exception):
    """A refusal that a person can act on.

    code: stable and machine readable, such as "insufficient_funds"; detail: what happened, in a sentence;
    remedy: what to do about it ("" when the detail says it); errors: the places in the input, if it was the input.
    """

    kind: Kind = Kind.INVALID
    code: str = "invalid"

    def __init__(self, detail: str, *, remedy: str = "", errors: Sequence[FieldError] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.remedy = remedy
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
