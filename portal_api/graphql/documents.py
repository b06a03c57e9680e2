"""Checking a document once: parsed, bounded and validated, and remembered for the next request that sends it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    OperationType,
    get_operation_ast,
    parse,
    validate,
)
from strawberry.extensions import SchemaExtension

from portal_api.graphql.bounds import DOCUMENT_CHARACTERS_MAX, TOKENS_MAX, excesses
from portal_api.graphql.refusals import InvalidQuery, QueryTooLarge, extensions
from portal_api.problems import Malformed

REMEMBERED_MAX = 256
ERRORS_MAX = 5
MESSAGE_MAX_CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Checked:
    """errors: why it is not run; empty when it may be."""

    document: DocumentNode | None
    errors: tuple[GraphQLError, ...]


@lru_cache(maxsize=REMEMBERED_MAX)
def _check(schema: GraphQLSchema, query: str) -> Checked:
    try:
        document = parse(query, max_tokens=TOKENS_MAX)
    except GraphQLError as error:
        return Checked(None, _short([error]))
    except RecursionError:
        return Checked(None, (_refusal("the document is nested too deeply"),))
    found = excesses(document) or validate(schema, document, max_errors=ERRORS_MAX)
    return Checked(document, _short(found))


def check(schema: GraphQLSchema, query: str) -> Checked:
    """The document of a query's text, or why there is none."""
    if len(query) > DOCUMENT_CHARACTERS_MAX:
        return Checked(None, (_refusal(f"a document has at most {DOCUMENT_CHARACTERS_MAX} characters"),))
    return _check(schema, query)


def kind_of(schema: GraphQLSchema, query: str, operation_name: str | None) -> OperationType | None:
    """Of the operation that would run. Raises Malformed when the request leaves open which that is."""
    checked = check(schema, query)
    if checked.document is None or checked.errors:
        return None
    operation = get_operation_ast(checked.document, operation_name)
    if operation is None:
        raise Malformed("GraphQL: no operation of the document has that name, or it has several and none is named")
    return operation.operation


class CheckedDocuments(SchemaExtension):
    """Takes the place of strawberry's own parsing and validation."""

    def on_parse(self) -> Iterator[None]:
        context = self.execution_context
        checked = check(context.schema._schema, context.query or "")
        if checked.errors:
            raise checked.errors[0]
        context.graphql_document = checked.document
        yield

    def on_validate(self) -> Iterator[None]:
        self.execution_context.pre_execution_errors = []
        yield


def _refusal(message: str) -> GraphQLError:
    return GraphQLError(message, extensions=extensions(QueryTooLarge(message)))


def _short(errors: Sequence[GraphQLError]) -> tuple[GraphQLError, ...]:
    """A document can make messages of any length: what is answered and logged is bounded."""
    return tuple(
        GraphQLError(
            error.message[:MESSAGE_MAX_CHARACTERS],
            positions=list(error.positions)[:1] if error.positions else None,
            source=error.source,
            extensions=error.extensions or extensions(InvalidQuery(error.message[:MESSAGE_MAX_CHARACTERS])),
        )
        for error in errors[:ERRORS_MAX]
    )
