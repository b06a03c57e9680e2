"""Credentials: how they look, what is stored of them, who they speak for, and when they stop doing so.

A token's text is its prefix, 32 random characters (190 bits) and a checksum, so that a mistyped or leaked one can be
recognized without asking anybody. Only its SHA-256 is stored.
"""

import hashlib
import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from infra.statements import among
from market.errors import InvalidInput, NotFound
from market.ids import is_id, new_id
from portal_api.identity.tables import Token

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
RANDOM_CHARACTERS, CHECKSUM_CHARACTERS = 32, 6
TOKENS_PER_OWNER_MAX = 200


class TokenKind(StrEnum):
    CUSTOMER = "customer"
    PROVIDER = "provider"
    JOIN = "join"
    AGENT = "agent"
    OPERATOR = "operator"


class Scope(StrEnum):
    """What a customer's token may do."""

    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    BILLING_READ = "billing:read"
    BILLING_WRITE = "billing:write"
    BILLING_WITHDRAW = "billing:withdraw"
    SECRETS_WRITE = "secrets:write"
    TOKENS_WRITE = "tokens:write"


class Role(StrEnum):
    OWNER = "owner"
    MEMBER = "member"
    VIEWER = "viewer"


_READING = (Scope.JOBS_READ, Scope.BILLING_READ)
ROLE_SCOPES = {
    Role.OWNER: frozenset(Scope),
    Role.MEMBER: frozenset({*_READING, Scope.JOBS_WRITE, Scope.SECRETS_WRITE}),
    Role.VIEWER: frozenset(_READING),
}

PREFIXES = {
    TokenKind.CUSTOMER: "gbc_",
    TokenKind.PROVIDER: "gbp_",
    TokenKind.JOIN: "gbj_",
    TokenKind.AGENT: "gba_",
    TokenKind.OPERATOR: "gbo_",
}


@dataclass(frozen=True, slots=True)
class Credential:
    """A token as the portal knows it while it serves a request."""

    token_id: str
    kind: TokenKind
    organization_id: str | None
    provider_id: str | None
    node_id: str | None
    role: str | None
    scopes: frozenset[str]
    expires_at: datetime | None
    revoked_at: datetime | None

    def valid(self, now: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True)
class Issued:
    """A fresh token; its text is shown this once."""

    text: str
    row: Token


def generate(kind: TokenKind) -> str:
    """A fresh token text of that kind."""
    body = PREFIXES[kind] + "".join(secrets.choice(_ALPHABET) for _ in range(RANDOM_CHARACTERS))
    return body + _checksum(body)


def well_formed(text: str) -> bool:
    """Whether the text has a token's form and its checksum is right."""
    if len(text) != 4 + RANDOM_CHARACTERS + CHECKSUM_CHARACTERS or text[:4] not in PREFIXES.values():
        return False
    return text.isascii() and _checksum(text[:-CHECKSUM_CHARACTERS]) == text[-CHECKSUM_CHARACTERS:]


def digest(text: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(text.encode()).hexdigest()


def issue(
    session: Session,
    kind: TokenKind,
    now: datetime,
    *,
    name: str,
    organization_id: str | None = None,
    provider_id: str | None = None,
    node_id: str | None = None,
    role: Role | None = None,
    scopes: Sequence[Scope] | None = None,
    expires_at: datetime | None = None,
    uses_left: int | None = None,
    issued_by: str | None = None,
) -> Issued:
    """Make a credential. scopes: of a customer's, all of the role's when absent; more than the role's is refused."""
    allowed = ROLE_SCOPES[role] if role else frozenset[Scope]()
    granted = allowed if scopes is None else frozenset(scopes)
    if not granted <= allowed:
        beyond = ", ".join(sorted(granted - allowed))
        raise InvalidInput(f"the role {role} does not include {beyond}", remedy="ask for fewer scopes or a wider role")
    text = generate(kind)
    row = Token(
        id=new_id("tok"),
        kind=kind.value,
        sha256=digest(text),
        hint=text[:8],
        name=name,
        organization_id=organization_id,
        provider_id=provider_id,
        node_id=node_id,
        role=role.value if role else None,
        scopes=sorted(granted),
        uses_left=uses_left,
        issued_by=issued_by,
        created_at=now,
        expires_at=expires_at,
    )
    session.add(row)
    session.flush()
    return Issued(text, row)


def find(session: Session, digests: Sequence[str]) -> dict[str, Credential]:
    """The credentials of these digests, whether still valid or not."""
    rows = session.scalars(select(Token).where(among(Token.sha256, digests)))
    return {
        row.sha256: Credential(
            token_id=row.id,
            kind=TokenKind(row.kind),
            organization_id=row.organization_id,
            provider_id=row.provider_id,
            node_id=row.node_id,
            role=row.role,
            scopes=frozenset(row.scopes),
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
        )
        for row in rows
    }


def list_of_organization(session: Session, organization_id: str) -> list[Token]:
    """The customer tokens of an organization that were not revoked, newest first."""
    live = select(Token).where(Token.organization_id == organization_id, Token.revoked_at.is_(None))
    return list(session.scalars(live.order_by(Token.created_at.desc(), Token.id.desc()).limit(TOKENS_PER_OWNER_MAX)))


def revoke(session: Session, organization_id: str, token_id: str, now: datetime) -> None:
    """Revoke a customer token. Raises NotFound for one that is not the organization's."""
    found = (
        session.scalar(select(Token).where(Token.id == token_id, Token.organization_id == organization_id))
        if is_id(token_id, "tok")
        else None
    )
    if found is None:
        raise NotFound("there is no such token here")
    found.revoked_at = found.revoked_at or now


def revoke_of_node(session: Session, node_id: str, now: datetime) -> None:
    """Revoke every credential of a node."""
    live = Token.node_id == node_id, Token.revoked_at.is_(None)
    session.execute(update(Token).where(*live).values(revoked_at=now).execution_options(synchronize_session=False))


def take_join_use(session: Session, token_id: str) -> bool:
    """Use a join token once; False when none is left."""
    used = session.execute(
        update(Token)
        .where(Token.id == token_id, (Token.uses_left.is_(None)) | (Token.uses_left > 0))
        .values(uses_left=Token.uses_left - 1)
        .returning(Token.id)
        .execution_options(synchronize_session=False)
    )
    return used.scalar() is not None


def joined_before(session: Session, join_token_id: str, node_id: str) -> bool:
    """Whether that node got a credential by that join token already, so that it may ask again."""
    known = select(Token.id).where(Token.issued_by == join_token_id, Token.node_id == node_id).limit(1)
    return session.scalar(known) is not None


def _checksum(body: str) -> str:
    number, characters = zlib.crc32(body.encode()), ""
    for _ in range(CHECKSUM_CHARACTERS):
        number, digit = divmod(number, len(_ALPHABET))
        characters = _ALPHABET[digit] + characters
    return characters
