"""Who may call a route: dependencies that put the right into the route's signature."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Protocol

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from market.errors import Forbidden
from portal_api.identity.credentials import Credentials
from portal_api.identity.tokens import PREFIXES, Credential, Scope, TokenKind


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody of an organization; may do what its scopes say."""

    organization_id: str
    token_id: str
    role: str
    scopes: frozenset[str]

    def require(self, *scopes: str) -> None:
        """Raise Forbidden unless all of these scopes are there."""
        missing = [scope for scope in scopes if scope not in self.scopes]
        if missing:
            raise Forbidden(
                f"this token lacks the scope {missing[0]}",
                remedy="use a token of a wider role; an owner makes one: `POST /v1/tokens`",
            )


@dataclass(frozen=True, slots=True)
class ProviderPrincipal:
    provider_id: str
    token_id: str


@dataclass(frozen=True, slots=True)
class Joiner:
    """A machine that wants to become a node of that provider. token: the join token's text, which it signs."""

    provider_id: str
    token_id: str
    token: str


@dataclass(frozen=True, slots=True)
class Agent:
    node_id: str
    token_id: str


@dataclass(frozen=True, slots=True)
class Operator:
    token_id: str


class _HasCredentials(Protocol):
    credentials: Credentials


def _scheme(kind: TokenKind, description: str) -> HTTPBearer:
    return HTTPBearer(
        scheme_name=f"{kind.value}Token",
        bearerFormat=f"{PREFIXES[kind]}...",
        description=description,
        auto_error=False,
    )


Bearer = HTTPAuthorizationCredentials | None
_CUSTOMER = _scheme(TokenKind.CUSTOMER, "a member of a customer's organization")
_PROVIDER = _scheme(TokenKind.PROVIDER, "a provider")
_JOIN = _scheme(TokenKind.JOIN, "a machine that joins a provider")
_AGENT = _scheme(TokenKind.AGENT, "the agent of a node")
_OPERATOR = _scheme(TokenKind.OPERATOR, "the market's operator")


async def _credential(request: Request, kind: TokenKind) -> Credential:
    """The valid credential of the request, if it is of that kind. Raises Unauthenticated or Forbidden."""
    portal: _HasCredentials = request.app.state.portal
    credential = await portal.credentials.of_header(request.headers.get("authorization"))
    return of_kind(credential, kind)


def of_kind(credential: Credential, kind: TokenKind) -> Credential:
    """The credential, if it is of that kind. Raises Forbidden."""
    if credential.kind is not kind:
        raise Forbidden(
            f"this is a token of kind {credential.kind.value}; here one of kind {kind.value} is needed",
            remedy=f"use one that begins with {PREFIXES[kind]}",
        )
    return credential


def member_of(credential: Credential) -> Member:
    """The member that a customer's credential speaks for."""
    assert credential.organization_id is not None
    return Member(credential.organization_id, credential.token_id, credential.role or "", credential.scopes)


async def signed_in_member(
    request: Request, scopes: SecurityScopes, _: Annotated[Bearer, Depends(_CUSTOMER)] = None
) -> Member:
    member = member_of(await _credential(request, TokenKind.CUSTOMER))
    member.require(*scopes.scopes)
    return member


async def signed_in_provider(request: Request, _: Annotated[Bearer, Depends(_PROVIDER)] = None) -> ProviderPrincipal:
    credential = await _credential(request, TokenKind.PROVIDER)
    assert credential.provider_id is not None
    return ProviderPrincipal(credential.provider_id, credential.token_id)


async def signed_in_joiner(request: Request, _: Annotated[Bearer, Depends(_JOIN)] = None) -> Joiner:
    credential = await _credential(request, TokenKind.JOIN)
    assert credential.provider_id is not None
    text = request.headers["authorization"].partition(" ")[2].strip()
    return Joiner(credential.provider_id, credential.token_id, text)


async def signed_in_agent(request: Request, _: Annotated[Bearer, Depends(_AGENT)] = None) -> Agent:
    credential = await _credential(request, TokenKind.AGENT)
    assert credential.node_id is not None
    return Agent(credential.node_id, credential.token_id)


async def signed_in_operator(request: Request, _: Annotated[Bearer, Depends(_OPERATOR)] = None) -> Operator:
    return Operator((await _credential(request, TokenKind.OPERATOR)).token_id)


SignedInMember = Annotated[Member, Security(signed_in_member)]
JobReader = Annotated[Member, Security(signed_in_member, scopes=[Scope.JOBS_READ.value])]
JobWriter = Annotated[Member, Security(signed_in_member, scopes=[Scope.JOBS_WRITE.value])]
BillReader = Annotated[Member, Security(signed_in_member, scopes=[Scope.BILLING_READ.value])]
Payer = Annotated[Member, Security(signed_in_member, scopes=[Scope.BILLING_WRITE.value])]
Withdrawer = Annotated[Member, Security(signed_in_member, scopes=[Scope.BILLING_WITHDRAW.value])]
SecretKeeper = Annotated[Member, Security(signed_in_member, scopes=[Scope.SECRETS_WRITE.value])]
TokenKeeper = Annotated[Member, Security(signed_in_member, scopes=[Scope.TOKENS_WRITE.value])]
SignedInProvider = Annotated[ProviderPrincipal, Security(signed_in_provider)]
SignedInJoiner = Annotated[Joiner, Security(signed_in_joiner)]
SignedInAgent = Annotated[Agent, Security(signed_in_agent)]
SignedInOperator = Annotated[Operator, Security(signed_in_operator)]

Dependency = Callable[..., Awaitable[object]]
PRINCIPALS: dict[TokenKind, Dependency] = {
    TokenKind.CUSTOMER: signed_in_member,
    TokenKind.PROVIDER: signed_in_provider,
    TokenKind.JOIN: signed_in_joiner,
    TokenKind.AGENT: signed_in_agent,
    TokenKind.OPERATOR: signed_in_operator,
}
