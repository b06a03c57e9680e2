"""Refusals as HTTP: one table from kinds to statuses, and RFC 9457 problem documents for everything that goes wrong."""

import asyncio
import dataclasses
import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, cast

import redis
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from pydantic_core import ErrorDetails
from sqlalchemy.exc import DataError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.responses import Response

from infra.database import is_away
from market.customer_api import Fault, Problem
from market.error_codes import Kind, usual_remedy
from market.errors import FieldError, InvalidInput, MarketError, NotFound, TooLarge, Unavailable
from market.faults import DETAIL_MAX_CHARACTERS as FAULT_MAX_CHARACTERS
from market.faults import faults_of

log = structlog.get_logger(__name__)
PROBLEM_MEDIA_TYPE = "application/problem+json"
ERROR_PAGE = "/errors"
"""Where the codes are explained; a problem's `type` is an anchor of it."""
RETRY_AFTER_SECONDS = 1
ERRORS_MAX = 50
DETAIL_MAX_CHARACTERS = 2_000

STATUSES: Mapping[Kind, int] = {
    Kind.MALFORMED: 400,
    Kind.INVALID: 422,
    Kind.NOT_YET: 422,
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.NOT_FOUND: 404,
    Kind.WRONG_METHOD: 405,
    Kind.NOT_ACCEPTABLE: 406,
    Kind.UNSUPPORTED: 415,
    Kind.CONFLICT: 409,
    Kind.STALE: 409,
    Kind.NO_FUNDS: 402,
    Kind.TOO_LARGE: 413,
    Kind.TOO_MANY: 429,
    Kind.UNAVAILABLE: 503,
    Kind.INTERNAL: 500,
}

SOON_OVER_CODES = frozenset({"idempotency_key_in_flight"})
"""Conflicts that end by themselves in a moment."""


class Malformed(InvalidInput):
    kind, code = Kind.MALFORMED, "malformed_body"


class MalformedRequest(MarketError):
    kind, code = Kind.MALFORMED, "malformed_request"


class NoSuchRoute(NotFound):
    code = "no_such_route"


class WrongMethod(MarketError):
    kind, code = Kind.WRONG_METHOD, "method_not_allowed"


class NotAcceptable(MarketError):
    kind, code = Kind.NOT_ACCEPTABLE, "not_acceptable"


class UnsupportedMediaType(MarketError):
    kind, code = Kind.UNSUPPORTED, "unsupported_media_type"


class Busy(Unavailable):
    """More is waiting than this process takes on; the same request is welcome a moment later."""

    code = "busy"


class TooMany(MarketError):
    kind, code = Kind.TOO_MANY, "too_many"


class Internal(MarketError):
    """A fault of ours, as the client is told of it: nothing but where to find it."""

    kind, code = Kind.INTERNAL, "internal"


def status_of(error: MarketError) -> int:
    """The HTTP status of a refusal."""
    return STATUSES[error.kind]


def problem_of(error: MarketError) -> Problem:
    """The problem document of a refusal."""
    status = status_of(error)
    return Problem(
        type=f"{ERROR_PAGE}#{error.code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=error.detail[:DETAIL_MAX_CHARACTERS],
        code=error.code,
        remedy=error.remedy or usual_remedy(error.code),
        errors=[_fault(item) for item in error.errors[:ERRORS_MAX]],
        request_id=str(structlog.contextvars.get_contextvars().get("request_id", "")),
    )


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """The document as a response, with the headers that its status calls for."""
    extra: dict[str, str] = dict(headers or {})
    if problem.status == STATUSES[Kind.UNAUTHENTICATED]:
        extra.setdefault("WWW-Authenticate", "Bearer")
    if problem.status in (STATUSES[Kind.UNAVAILABLE], STATUSES[Kind.TOO_MANY]) or problem.code in SOON_OVER_CODES:
        extra.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))
    body = json.dumps(problem.model_dump(mode="json"), ensure_ascii=True)
    return Response(body, status_code=problem.status, media_type=PROBLEM_MEDIA_TYPE, headers=extra)


def internal_problem(request_id: str) -> Problem:
    """What the client is told of a fault of ours."""
    return problem_of(Internal(f"something went wrong here, not with your request; it is recorded as {request_id}"))


def refusal_of(error: Exception) -> MarketError | None:
    """The refusal that an engine's failure amounts to, or None when it is a fault of ours."""
    if isinstance(error, MarketError):
        return error
    if isinstance(error, DataError | UnicodeEncodeError):
        return InvalidInput(
            "the input holds a character that cannot be stored (NUL or a lone surrogate)",
            remedy="remove it",
        )
    if is_away(error):
        return Unavailable("the database cannot answer right now; nothing was changed", remedy="try again in a moment")
    if isinstance(error, redis.RedisError | asyncio.TimeoutError):
        return Unavailable("an engine of the market cannot answer right now", remedy="try again in a moment")
    return None


def install(app: FastAPI) -> None:
    """Answer every refusal of this application with a problem document."""
    for kind in (MarketError, UnicodeEncodeError, DBAPIError, PoolTimeout):
        app.add_exception_handler(kind, _on_refusal)
    app.add_exception_handler(redis.RedisError, _on_refusal)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_fault)


async def _on_fault(_: Request, error: Exception) -> Response:
    """Left to the envelope, which knows the request's number."""
    raise error


async def _on_refusal(request: Request, error: Exception) -> Response:
    refusal = refusal_of(error)
    if refusal is None:
        raise error
    if refusal is not error:
        log.warning("engine_failed", path=request.url.path, error=f"{type(error).__name__}: {error}"[:500])
    return problem_response(problem_of(refusal))


async def _on_validation_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    field = getattr(request.scope.get("route"), "body_field", None)
    model = field.field_info.annotation if field is not None else None
    return problem_response(problem_of(validation_refusal(error.errors(), model)))


def validation_refusal(errors: Sequence[Any], model: type[BaseModel] | None) -> InvalidInput:
    """The refusal of faults as FastAPI lists them. model: of the body, so that its names can be proposed."""
    faults = [_place(error, model) for error in errors[:ERRORS_MAX]]
    return refusal_at(faults, more=len(errors) - 1)


def refusal_at(faults: Sequence[FieldError], more: int | None = None) -> InvalidInput:
    """The refusal of an input that is wrong in these places; the first is its detail."""
    first = faults[0]
    where = first.parameter or first.pointer or "the body"
    others = len(faults) - 1 if more is None else more
    return InvalidInput(f"{where}: {first.detail}{f' (and {others} more)' if others else ''}", errors=faults)


def _place(error: Any, model: type[BaseModel] | None) -> FieldError:
    source, *rest = error["loc"] or ("body",)
    [fault] = faults_of(model, [cast(ErrorDetails, {**error, "loc": tuple(rest)})])
    if source == "body":
        return fault
    return dataclasses.replace(fault, pointer="", source=str(source), parameter="/".join(str(part) for part in rest))


def _fault(item: FieldError) -> Fault:
    return Fault(**{**dataclasses.asdict(item), "detail": item.detail[:FAULT_MAX_CHARACTERS]})


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """What the framework refuses by itself: unknown routes, wrong methods."""
    if not isinstance(error, HTTPException):
        raise error
    path = request.url.path[:200]
    refusals: dict[int, MarketError] = {
        404: NoSuchRoute(f"there is nothing at {path}"),
        405: WrongMethod(f"{request.method[:20]} is not possible at {path}"),
        413: TooLarge(str(error.detail)),
    }
    refusal = refusals.get(error.status_code) or MalformedRequest(str(error.detail))
    return problem_response(problem_of(refusal), error.headers)
