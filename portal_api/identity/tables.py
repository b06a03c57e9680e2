"""Organizations, the credentials of everybody, the answers already given to idempotent requests, and sealed secrets."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary
from sqlalchemy.dialects.postgresql import ARRAY, TEXT
from sqlalchemy.orm import Mapped, mapped_column

from infra.database import Base, Timestamp


class Organization(Base):
    __tablename__ = "organizations"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(Timestamp)


class Token(Base):
    """A credential; its text is known to its holder alone. Exactly the owner that its kind calls for is set.

    hint: the first characters, for people; uses_left: of a join token, None is any number;
    issued_by: the join token that a node's credential came from.
    """

    __tablename__ = "tokens"
    __table_args__ = (
        CheckConstraint(
            "(kind = 'customer' AND organization_id IS NOT NULL AND provider_id IS NULL AND node_id IS NULL) OR "
            "(kind IN ('provider', 'join') AND provider_id IS NOT NULL AND organization_id IS NULL AND node_id IS NULL)"
            " OR (kind = 'agent' AND node_id IS NOT NULL AND provider_id IS NOT NULL AND organization_id IS NULL) OR "
            "(kind = 'operator' AND organization_id IS NULL AND provider_id IS NULL AND node_id IS NULL)",
            name="owner_of_its_kind",
        ),
        CheckConstraint("uses_left >= 0", name="uses_left"),
        Index("ix_tokens_organization_id", "organization_id", "created_at"),
        Index("ix_tokens_node_id", "node_id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    sha256: Mapped[str] = mapped_column(unique=True)
    hint: Mapped[str]
    name: Mapped[str]
    organization_id: Mapped[str | None] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"))
    provider_id: Mapped[str | None]
    node_id: Mapped[str | None]
    role: Mapped[str | None]
    scopes: Mapped[list[str]] = mapped_column(ARRAY(TEXT))
    uses_left: Mapped[int | None]
    issued_by: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(Timestamp)
    expires_at: Mapped[datetime | None] = mapped_column(Timestamp)
    revoked_at: Mapped[datetime | None] = mapped_column(Timestamp)


class IdempotencyKey(Base):
    """An effect that happened, under the key its caller gave it, with the answer that was given."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("ix_idempotency_keys_created_at", "created_at"),)

    owner: Mapped[str] = mapped_column(primary_key=True)
    route: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    body_sha256: Mapped[str]
    status: Mapped[int]
    answer: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(Timestamp)


class CustomerSecret(Base):
    """A secret of an organization; only sealed bytes are ever stored."""

    __tablename__ = "customer_secrets"

    organization_id: Mapped[str] = mapped_column(ForeignKey("organizations.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    updated_at: Mapped[datetime] = mapped_column(Timestamp)
