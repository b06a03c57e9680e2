"""What a GraphQL operation stands on: the portal and the caller's credential, checked at every operation."""

from starlette.requests import HTTPConnection
from strawberry.fastapi import BaseContext

from portal_api.identity.principals import Member, member_of, of_kind
from portal_api.identity.tokens import TokenKind
from portal_api.portal import Portal


class GraphContext(BaseContext):
    """authorization: of the request's header, or of a websocket's connection_init payload."""

    def __init__(self, portal: Portal, authorization: str | None) -> None:
        super().__init__()
        self.portal = portal
        self.authorization = authorization

    async def member(self, *scopes: str) -> Member:
        """The caller. Raises Unauthenticated, Forbidden."""
        credential = await self.portal.credentials.of_header(self.authorization)
        member = member_of(of_kind(credential, TokenKind.CUSTOMER))
        member.require(*scopes)
        return member

    async def admit(self) -> None:
        """Let a connection begin. Raises Unauthenticated, Forbidden."""
        await self.member()

    def adopt(self, payload: object) -> None:
        """Take the credential of a connection_init payload, when the handshake had none: browsers send no header."""
        given = payload.get("authorization") if isinstance(payload, dict) else None
        if self.authorization is None and isinstance(given, str):
            self.authorization = given


async def context_of(connection: HTTPConnection) -> GraphContext:
    """The context of a request; a websocket shows its credential at connection_init. Raises Unauthenticated."""
    portal: Portal = connection.app.state.portal
    context = GraphContext(portal, connection.headers.get("authorization"))
    if connection.scope["type"] == "http":
        await context.admit()
    return context
