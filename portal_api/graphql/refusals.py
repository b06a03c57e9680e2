"""Errors of GraphQL operations: our refusals with REST's codes, everything else masked and logged once, bounded."""

import re
from typing import Any

import structlog
from graphql import GraphQLError
from strawberry.extensions import MaskErrors

from market.customer_api import Problem
from market.errors import FieldError, InvalidInput, MarketError
from market.faults import DETAIL_MAX_CHARACTERS
from portal_api.problems import Internal, problem_of, refusal_at, refusal_of

log = structlog.get_logger(__name__)

_VARIABLE = re.compile(r"Variable '\$(\w+)' has invalid value(?: at ([^:]+))?: (.*)", re.DOTALL)
_STEP = re.compile(r"\w+")
_UNKNOWN = re.compile(r"not to include unknown field '([^']*)'\.?(?: Did you mean '([^']*)')?")
_MISSING = re.compile(r"to include required field '([^']*)'")


class InvalidQuery(InvalidInput):
    code = "invalid_query"


class QueryTooLarge(InvalidInput):
    code = "query_too_large"


class Refusals(MaskErrors):
    """Every error gets `extensions` {type, code, status, remedy, errors, request_id}; faults of ours say nothing."""

    def __init__(self) -> None:
        super().__init__(lambda error: "code" not in (error.extensions or {}))

    def anonymise_error(self, error: GraphQLError) -> GraphQLError:
        problem = problem_of(_refusal(error))
        return GraphQLError(problem.detail, nodes=error.nodes, path=error.path, extensions=extensions_of(problem))


def extensions_of(problem: Problem) -> dict[str, Any]:
    """A problem's members that are not a GraphQL error's own."""
    return problem.model_dump(mode="json", exclude={"title", "detail"})


def extensions(refusal: MarketError) -> dict[str, Any]:
    """The same of a refusal."""
    return extensions_of(problem_of(refusal))


def log_faults(errors: list[GraphQLError]) -> None:
    """A traceback for each fault of ours, nothing for what a client did wrong."""
    for error in errors:
        cause = error.original_error
        if isinstance(cause, Exception) and not isinstance(cause, GraphQLError) and refusal_of(cause) is None:
            log.error("graphql_failed", path=str(error.path)[:200], exc_info=cause)


def _refusal(error: GraphQLError) -> MarketError:
    cause = error.original_error
    if cause is None or isinstance(cause, GraphQLError):
        return _of_the_request(error.message)
    refusal = refusal_of(cause) if isinstance(cause, Exception) else None
    request_id = structlog.contextvars.get_contextvars().get("request_id", "unknown")
    return refusal or Internal(f"something went wrong here, not with your request; it is recorded as {request_id}")


def _of_the_request(message: str) -> MarketError:
    """What graphql-core finds wrong while it runs a document: above all a variable of another type."""
    match = _VARIABLE.fullmatch(message)
    if match is None:
        return InvalidQuery(message[:DETAIL_MAX_CHARACTERS])
    name, way, said = match[1], match[2] or "", match[3]
    # What it found is the caller's own, and may be long.
    said = said.partition(", found: ")[0].partition(" Found: ")[0][:DETAIL_MAX_CHARACTERS]
    unknown, missing = _UNKNOWN.search(said), _MISSING.search(said)
    code = "unknown_field" if unknown else "missing_field" if missing else "wrong_type"
    steps = ["variables", name, *_STEP.findall(way), *([unknown[1]] if unknown else [missing[1]] if missing else [])]
    return refusal_at([FieldError("/" + "/".join(steps), said, code, (unknown[2] or "") if unknown else "")])
