"""Who one is: the credential's identity, the organization's tokens and secrets."""

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from market.customer_api import IdentityView, SecretRequest
from market.errors import NotFound
from portal_api.identity import customer_secrets, tokens
from portal_api.identity.principals import JobReader, SecretKeeper, SignedInMember, TokenKeeper
from portal_api.identity.tables import Organization, Token
from portal_api.identity.tokens import ROLE_SCOPES, Role, Scope, TokenKind
from portal_api.portal import PortalDep
from portal_api.strictness import StrictRoute

router = APIRouter(route_class=StrictRoute, prefix="/v1", tags=["account"])
LIFETIME_MAX_DAYS = 366
SecretName = Annotated[str, Path(max_length=128)]


class TokenRequest(BaseModel):
    """scopes: fewer than the role's, if wanted. expires_in_days: 90 unless said otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=100)
    role: Role
    scopes: list[Scope] | None = None
    expires_in_days: int = Field(default=90, ge=1, le=LIFETIME_MAX_DAYS)


class TokenView(BaseModel):
    """token: the credential itself, only in the answer that made it."""

    token_id: str
    name: str
    hint: str
    role: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    token: str | None = None


class TokenList(BaseModel):
    items: list[TokenView]


class SecretList(BaseModel):
    """Names alone: what is stored under them is never shown again."""

    names: list[str]


@router.get("/me")
async def get_identity(portal: PortalDep, member: SignedInMember) -> IdentityView:
    """Who the credential speaks for."""
    organization = await portal.threads.read(lambda session: session.get(Organization, member.organization_id))
    if organization is None:
        raise NotFound("this organization is gone")
    return IdentityView(
        organization_id=organization.id,
        organization_name=organization.name,
        role=member.role,
        scopes=sorted(member.scopes),
    )


@router.post("/tokens", status_code=201)
async def create_token(portal: PortalDep, member: TokenKeeper, request: TokenRequest) -> TokenView:
    """Make a token of this organization, with no more scopes than the one that asks; its text is shown this once."""
    now = portal.now()
    member.require(*(request.scopes if request.scopes is not None else ROLE_SCOPES[request.role]))
    issued = await portal.threads.transact(
        lambda session: tokens.issue(
            session,
            TokenKind.CUSTOMER,
            now,
            name=request.name,
            organization_id=member.organization_id,
            role=request.role,
            scopes=request.scopes,
            expires_at=now + timedelta(days=request.expires_in_days),
        )
    )
    return _view(issued.row, issued.text)


@router.get("/tokens")
async def list_tokens(portal: PortalDep, member: TokenKeeper) -> TokenList:
    """The organization's tokens that were not revoked."""
    rows = await portal.threads.read(lambda session: tokens.list_of_organization(session, member.organization_id))
    return TokenList(items=[_view(row) for row in rows])


@router.delete("/tokens/{token_id}", status_code=204)
async def revoke_token(portal: PortalDep, member: TokenKeeper, token_id: str) -> None:
    """Revoke a token; within seconds no worker takes it any more."""
    now = portal.now()
    await portal.threads.transact(lambda session: tokens.revoke(session, member.organization_id, token_id, now))
    portal.credentials.forget(token_id)


@router.put("/secrets/{name}", status_code=204)
async def put_secret(portal: PortalDep, member: SecretKeeper, name: SecretName, request: SecretRequest) -> None:
    """Store a secret, in place of what was there under that name."""
    now, box = portal.now(), portal.base.secrets
    await portal.threads.transact(
        lambda session: customer_secrets.put(
            session, box, member.organization_id, name=name, value=request.value, now=now
        )
    )


@router.get("/secrets")
async def list_secrets(portal: PortalDep, member: JobReader) -> SecretList:
    """The names of the organization's secrets."""
    names = await portal.threads.read(lambda session: customer_secrets.names(session, member.organization_id))
    return SecretList(names=names)


@router.delete("/secrets/{name}", status_code=204)
async def delete_secret(portal: PortalDep, member: SecretKeeper, name: SecretName) -> None:
    """Forget a secret; jobs that wait for it fail to start."""
    await portal.threads.transact(lambda session: customer_secrets.remove(session, member.organization_id, name))


def _view(row: Token, text: str | None = None) -> TokenView:
    return TokenView(
        token_id=row.id,
        name=row.name,
        hint=row.hint,
        role=row.role or "",
        scopes=list(row.scopes),
        created_at=row.created_at,
        expires_at=row.expires_at,
        token=text,
    )
