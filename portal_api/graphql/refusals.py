"""Errors of GraphQL operations: our refusals with their codes, everything else masked and logged once, bounded."""

import structlog
from graphql import GraphQLError
from strawberry.extensions import MaskErrors

from portal_api.problems import internal_problem, problem_of, refusal_of

log = structlog.get_logger(__name__)


class Refusals(MaskErrors):
    """Refusals keep their words and get `extensions` {code, status, remedy, errors}; faults of ours say nothing."""

    def __init__(self) -> None:
        super().__init__(lambda error: error.original_error is not None)

    def anonymise_error(self, error: GraphQLError) -> GraphQLError:
        refusal = refusal_of(error.original_error) if isinstance(error.original_error, Exception) else None
        if refusal is not None:
            problem = problem_of(refusal)
        else:
            request_id = str(structlog.contextvars.get_contextvars().get("request_id", "unknown"))
            problem = internal_problem(request_id)
        return GraphQLError(
            problem.detail,
            nodes=error.nodes,
            path=error.path,
            extensions={
                "code": problem.code,
                "status": problem.status,
                "remedy": problem.remedy,
                "errors": list(problem.errors),
            },
        )


def log_faults(errors: list[GraphQLError]) -> None:
    """A traceback for each fault of ours, nothing for what a client did wrong."""
    for error in errors:
        cause = error.original_error
        if isinstance(cause, Exception) and not isinstance(cause, GraphQLError) and refusal_of(cause) is None:
            log.error("graphql_failed", path=str(error.path)[:200], exc_info=cause)
