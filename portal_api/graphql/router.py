"""The address of GraphQL: POST for queries and mutations, graphql-transport-ws for subscriptions, nothing by GET."""

import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from cross_web import HTTPException
from fastapi import Request, Response
from graphql import OperationType
from strawberry.exceptions import ConnectionRejectionError
from strawberry.fastapi import GraphQLRouter
from strawberry.subscriptions import GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler
from strawberry.types.unset import UNSET, UnsetType

from market import strict_json
from market.errors import MarketError
from market.strict_json import NotJson
from portal_api.graphql.context import GraphContext, context_of
from portal_api.graphql.documents import kind_of
from portal_api.graphql.operators import create_operator_schema, operator_context_of
from portal_api.graphql.schema import GridbaySchema, create_schema
from portal_api.problems import Malformed, UnsupportedMediaType, WrongMethod

INIT_SECONDS = 10
NOT_ALLOWED = 405
SUBSCRIPTIONS_PER_CONNECTION_MAX = 50


class Subscriptions(BaseGraphQLTransportWSHandler[GraphContext, None]):
    """strawberry's own, for messages of any shape: what is no message closes the socket, and nothing else."""

    async def handle_message(self, message: Any) -> None:
        if _is_message(message):
            await super().handle_message(message)
        else:
            await self.handle_invalid_message("that is no message of graphql-transport-ws")


def _is_message(message: Any) -> bool:
    """Whether it has the shape that strawberry's handler counts on."""
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        return False
    if message["type"] not in ("subscribe", "complete"):
        return True
    if not isinstance(message.get("id"), str):
        return False
    payload = message.get("payload")
    return message["type"] == "complete" or (
        isinstance(payload, dict)
        and isinstance(payload.get("query"), str)
        and isinstance(payload.get("variables") or {}, dict)
        and isinstance(payload.get("operationName") or "", str)
    )


class PortalGraphQL(GraphQLRouter[GraphContext, None]):
    """strawberry's router, with problems instead of plain text and the credential checked at connection_init."""

    schema: GridbaySchema
    graphql_transport_ws_handler_class = Subscriptions

    async def run(self, request: Any, context: Any = UNSET, root_value: Any = UNSET) -> Any:
        try:
            return await super().run(request, context, root_value)
        except HTTPException as error:
            if error.reason == "Unsupported content type":
                raise UnsupportedMediaType("GraphQL takes documents as application/json") from None
            if request.method == "GET" or error.status_code == NOT_ALLOWED:
                raise WrongMethod("GraphQL is asked by POST") from None
            raise Malformed(f"GraphQL: {error.reason}") from None

    async def execute_single(self, *arguments: Any, **named: Any) -> Any:
        """One answer to one request; a subscription has many, and strawberry would fail in the middle of it."""
        data = named["request_data"]
        kind = kind_of(self.schema._schema, data.query, data.operation_name) if data.query else None
        if kind is OperationType.SUBSCRIPTION:
            raise Malformed("GraphQL: subscriptions are served by graphql-transport-ws, on a websocket")
        return await super().execute_single(*arguments, **named)

    async def get_sub_response(self, request: Request) -> Response:
        # The one that strawberry keeps on the router belongs to whichever request came last.
        response = Response()
        # Its headers are added to the answer's, which has a length of its own.
        del response.headers["content-length"]
        return response

    def parse_json(self, data: str | bytes) -> Any:
        try:
            value = strict_json.loads(data.encode() if isinstance(data, str) else data)
        except NotJson as error:
            raise Malformed(f"the body is not JSON: {error}") from None
        if not isinstance(value, dict | list):
            raise Malformed("the body is a JSON object with `query`, and `variables` if it has any")
        return value

    def decode_json(self, data: str | bytes) -> object:
        """Of a websocket's messages."""
        try:
            return strict_json.loads(data.encode() if isinstance(data, str) else data)
        except (NotJson, MarketError) as error:
            raise json.JSONDecodeError(str(error), "", 0) from None

    async def on_ws_connect(self, context: GraphContext) -> UnsetType | dict[str, object] | None:
        context.adopt(context.connection_params)
        try:
            await context.admit()
        except MarketError:
            raise ConnectionRejectionError from None
        return UnsetType()


def create_routers() -> tuple[PortalGraphQL, PortalGraphQL]:
    """The customers' address and the operators'."""
    return (
        _router("/graphql", create_schema(), context_of),
        _router("/ops/graphql", create_operator_schema(), operator_context_of),
    )


def _router(path: str, schema: GridbaySchema, context: Callable[..., Awaitable[GraphContext]]) -> PortalGraphQL:
    return PortalGraphQL(
        schema,
        path=path,
        graphql_ide=None,
        allow_queries_via_get=False,
        subscription_protocols=[GRAPHQL_TRANSPORT_WS_PROTOCOL],
        connection_init_wait_timeout=timedelta(seconds=INIT_SECONDS),
        max_subscriptions_per_connection=SUBSCRIPTIONS_PER_CONNECTION_MAX,
        context_getter=context,
        tags=["graphql"],
    )
