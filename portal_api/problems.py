"""Refusals as HTTP: one table from kinds to statuses, and RFC 9457 problem documents for everything that goes wrong."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import redis
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DataError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException
from starlette.responses import Response

from market.customer_api import Problem
from market.errors import InvalidInput, Kind, MarketError, Unavailable

log = structlog.get_logger(__name__)
PROBLEM_MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 1
ERRORS_MAX = 50
DETAIL_MAX_CHARACTERS = 2_000

STATUSES: Mapping[Kind, int] = {
    Kind.INVALID: 422,
    Kind.NOT_YET: 422,
    Kind.UNAUTHENTICATED: 401,
    Kind.FORBIDDEN: 403,
    Kind.NOT_FOUND: 404,
    Kind.CONFLICT: 409,
    Kind.STALE: 409,
    Kind.NO_FUNDS: 402,
    Kind.TOO_LARGE: 413,
    Kind.TOO_MANY: 429,
    Kind.UNAVAILABLE: 503,
}

MALFORMED_STATUS = 400
MALFORMED_CODES = frozenset({"malformed_body", "idempotency_key_missing"})
"""Refusals of kind INVALID whose request could not even be read: these say 400."""

SOON_OVER_CODES = frozenset({"idempotency_key_in_flight"})
"""Conflicts that end by themselves in a moment."""

_CODES = {
    400: "malformed_body",
    404: "no_such_route",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
}


class Malformed(InvalidInput):
    code = "malformed_body"


class Busy(Unavailable):
    """More is waiting than this process takes on; the same request is welcome a moment later."""

    code = "busy"


class TooMany(MarketError):
    kind, code = Kind.TOO_MANY, "too_many"


def status_of(error: MarketError) -> int:
    """The HTTP status of a refusal."""
    return MALFORMED_STATUS if error.code in MALFORMED_CODES else STATUSES[error.kind]


def problem_of(error: MarketError) -> Problem:
    """The problem document of a refusal."""
    status = status_of(error)
    return Problem(
        type=f"urn:gridbay:problem:{error.code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=error.detail[:DETAIL_MAX_CHARACTERS],
        code=error.code,
        remedy=error.remedy,
        errors=[{"pointer": item.pointer, "detail": item.detail} for item in error.errors[:ERRORS_MAX]],
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
    """What the client is told of a fault of ours: nothing but where to find it."""
    return Problem(
        type="urn:gridbay:problem:internal",
        title=HTTPStatus.INTERNAL_SERVER_ERROR.phrase,
        status=500,
        detail=f"something went wrong here, not with your request; it is recorded as {request_id}",
        code="internal",
        remedy="try again; if it stays, tell the operator that number",
    )


def refusal_of(error: Exception) -> MarketError | None:
    """The refusal that an engine's failure amounts to, or None when it is a fault of ours."""
    if isinstance(error, MarketError):
        return error
    if isinstance(error, DataError | UnicodeEncodeError):
        return InvalidInput(
            "the input holds a character that cannot be stored (NUL or a lone surrogate)",
            remedy="remove it",
        )
    if isinstance(error, OperationalError | InterfaceError | PoolTimeout):
        return Unavailable("the database cannot answer right now; nothing was changed", remedy="try again in a moment")
    if isinstance(error, redis.RedisError | asyncio.TimeoutError):
        return Unavailable("an engine of the market cannot answer right now", remedy="try again in a moment")
    return None


def install(app: FastAPI) -> None:
    """Answer every refusal of this application with a problem document."""
    for kind in (MarketError, DataError, UnicodeEncodeError, OperationalError, InterfaceError, PoolTimeout):
        app.add_exception_handler(kind, _on_refusal)
    app.add_exception_handler(redis.RedisError, _on_refusal)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)


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
    return problem_response(validation_problem(error.errors()))


def validation_problem(faults: Sequence[Mapping[str, Any]]) -> Problem:
    """The problem of faults as pydantic lists them: a pointer for the body, the parameter's name for the rest."""
    items = [_place(fault) for fault in faults[:ERRORS_MAX]]
    malformed = any(fault["type"] == "json_invalid" for fault in faults)
    status = MALFORMED_STATUS if malformed else STATUSES[Kind.INVALID]
    code = "malformed_body" if malformed else "invalid_input"
    first = items[0]
    where = first.get("parameter") or first["pointer"] or "the body"
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return Problem(
        type=f"urn:gridbay:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=f"{where}: {first['detail']}{more}"[:DETAIL_MAX_CHARACTERS],
        code=code,
        errors=items,
    )


def _place(fault: Mapping[str, Any]) -> dict[str, str]:
    location = [str(part) for part in fault["loc"]]
    source, rest = (location[0], location[1:]) if location else ("body", [])
    detail = "it is not JSON" if fault["type"] == "json_invalid" else fault["msg"].removeprefix("Value error, ")
    if source != "body":
        return {"pointer": "", "in": source, "parameter": "/".join(rest), "detail": detail}
    if fault["type"] == "json_invalid":
        rest = []
    pointer = "".join(f"/{part.replace('~', '~0').replace('/', '~1')}" for part in rest)
    return {"pointer": pointer, "detail": detail}


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """What the framework refuses by itself: unknown routes, wrong methods, bodies beyond the limit."""
    if not isinstance(error, HTTPException):
        raise error
    details = {
        404: f"there is nothing at {request.url.path[:200]}",
        405: f"{request.method[:20]} is not possible at {request.url.path[:200]}",
    }
    problem = Problem(
        type=f"urn:gridbay:problem:{_CODES.get(error.status_code, 'refused')}",
        title=HTTPStatus(error.status_code).phrase,
        status=error.status_code,
        detail=details.get(error.status_code, str(error.detail))[:DETAIL_MAX_CHARACTERS],
        code=_CODES.get(error.status_code, "refused"),
    )
    return problem_response(problem, error.headers)
