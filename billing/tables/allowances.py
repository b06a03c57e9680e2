"""Allowances: token accounts of customers that the treasury may take from, and what it pulled out of them."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from infra.database import Base, Timestamp


class AllowanceRow(Base):
    """An organization's token account, pulled from while its balance is short. One at a time of each.

    state: `waiting` (for the owner's approval), `active`, `ended`. delegate, mint: of the treasury that asked for it.
    keep_microusd: what is kept available; daily_max_microusd: of what is pulled in 24 hours; None: the market's.
    approval: the signature of the transaction that proves the account's owner, once it was offered; detail: why it
    proved nothing, or why nothing can be pulled now. delegated_, balance_microusd: of the chain, finalized, as it was
    at read_at; next_look_at: when it is asked again; retry_at: no pull before that.
    """

    __tablename__ = "allowances"
    __table_args__ = (
        CheckConstraint("state IN ('waiting', 'active', 'ended')", name="state"),
        CheckConstraint("keep_microusd >= 0 AND daily_max_microusd > 0", name="terms"),
        CheckConstraint("delegated_microusd >= 0 AND balance_microusd >= 0", name="reading"),
        CheckConstraint("(token_account IS NULL) = (owner IS NULL)", name="owner"),
        CheckConstraint("state <> 'active' OR token_account IS NOT NULL", name="proven"),
        CheckConstraint("(state = 'ended') = (ended_at IS NOT NULL)", name="ended"),
        Index("uq_allowances_live", "organization_id", unique=True, postgresql_where=text("state <> 'ended'")),
        Index("uq_allowances_account", "token_account", unique=True, postgresql_where=text("state = 'active'")),
        Index("ix_allowances_looked_at", "next_look_at", postgresql_where=text("state <> 'ended'")),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    organization_id: Mapped[str]
    delegate: Mapped[str]
    mint: Mapped[str]
    state: Mapped[str] = mapped_column(server_default=text("'waiting'"))
    keep_microusd: Mapped[int]
    daily_max_microusd: Mapped[int | None]
    approval: Mapped[str | None]
    offered_at: Mapped[datetime | None] = mapped_column(Timestamp)
    token_account: Mapped[str | None]
    owner: Mapped[str | None]
    detail: Mapped[str] = mapped_column(server_default=text("''"))
    delegated_microusd: Mapped[int] = mapped_column(server_default=text("0"))
    balance_microusd: Mapped[int] = mapped_column(server_default=text("0"))
    read_at: Mapped[datetime | None] = mapped_column(Timestamp)
    next_look_at: Mapped[datetime | None] = mapped_column(Timestamp)
    retry_at: Mapped[datetime | None] = mapped_column(Timestamp)
    created_at: Mapped[datetime] = mapped_column(Timestamp)
    ended_at: Mapped[datetime | None] = mapped_column(Timestamp)


class PullRow(Base):
    """An amount on its way from an allowance's token account into the treasury: a batch of its own.

    state: `open`, `confirmed` (the chain has finalized it, and the organization has it) or `returned` (nothing was
    taken; `detail` says why).
    """

    __tablename__ = "pulls"
    __table_args__ = (
        CheckConstraint("state IN ('open', 'confirmed', 'returned')", name="state"),
        CheckConstraint("amount_microusd > 0", name="amount"),
        CheckConstraint("(state = 'open') = (ended_at IS NULL)", name="ended"),
        CheckConstraint("state <> 'confirmed' OR batch_id IS NOT NULL", name="confirmed"),
        Index("uq_pulls_open", "organization_id", unique=True, postgresql_where=text("state = 'open'")),
        Index("ix_pulls_organization_id", "organization_id", "created_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    allowance_id: Mapped[str] = mapped_column(ForeignKey("allowances.id"))
    organization_id: Mapped[str]
    token_account: Mapped[str]
    amount_microusd: Mapped[int]
    state: Mapped[str] = mapped_column(server_default=text("'open'"))
    batch_id: Mapped[str | None] = mapped_column(ForeignKey("settlement_batches.id"), unique=True)
    detail: Mapped[str] = mapped_column(server_default=text("''"))
    created_at: Mapped[datetime] = mapped_column(Timestamp)
    ended_at: Mapped[datetime | None] = mapped_column(Timestamp)
