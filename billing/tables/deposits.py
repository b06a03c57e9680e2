"""Deposits that customers announced, and what of them arrived on the chain."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from infra.database import Base, Timestamp


class DepositRow(Base):
    """A transfer request (Solana Pay): so much, to this treasury, marked with a reference of its own.

    state: `waiting`, `credited`, or `lapsed` (nothing came while it was watched). next_check_at: when the chain is
    asked again, less and less often; None: no more. arriving_microusd: what was seen at the last look and is not final.
    """

    __tablename__ = "deposits"
    __table_args__ = (
        CheckConstraint("state IN ('waiting', 'credited', 'lapsed')", name="state"),
        CheckConstraint("amount_microusd > 0", name="amount"),
        CheckConstraint("arriving_microusd >= 0", name="arriving"),
        Index("ix_deposits_watched", "next_check_at", postgresql_where=text("next_check_at IS NOT NULL")),
        Index("ix_deposits_organization_id", "organization_id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    organization_id: Mapped[str]
    amount_microusd: Mapped[int]
    recipient: Mapped[str]
    mint: Mapped[str]
    reference: Mapped[str] = mapped_column(unique=True)
    memo: Mapped[str]
    state: Mapped[str] = mapped_column(server_default=text("'waiting'"))
    created_at: Mapped[datetime] = mapped_column(Timestamp)
    next_check_at: Mapped[datetime | None] = mapped_column(Timestamp)
    arriving_microusd: Mapped[int] = mapped_column(server_default=text("0"))


class DepositCreditRow(Base):
    """One credited transfer of a finalized transaction. instruction: its index, -1 if it was none at the top level."""

    __tablename__ = "deposit_credits"
    __table_args__ = (
        CheckConstraint("amount_microusd > 0", name="amount"),
        Index("ix_deposit_credits_deposit_id", "deposit_id"),
    )

    signature: Mapped[str] = mapped_column(primary_key=True)
    instruction: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    deposit_id: Mapped[str] = mapped_column(ForeignKey("deposits.id"))
    amount_microusd: Mapped[int]
    credited_at: Mapped[datetime] = mapped_column(Timestamp)


class TreasuryMovementRow(Base):
    """Money that came into the treasury, or left it, and that no deposit or payout explains.

    amount_microusd: signed, above 0 for what came in. deposit_id: the deposit that an operator made of it.
    """

    __tablename__ = "treasury_movements"
    __table_args__ = (
        CheckConstraint("amount_microusd <> 0", name="amount"),
        CheckConstraint("deposit_id IS NULL OR amount_microusd > 0", name="assigned"),
        Index("ix_treasury_movements_open", "seen_at", postgresql_where=text("deposit_id IS NULL")),
    )

    signature: Mapped[str] = mapped_column(primary_key=True)
    amount_microusd: Mapped[int]
    sender: Mapped[str | None]
    memo: Mapped[str | None]
    seen_at: Mapped[datetime] = mapped_column(Timestamp)
    deposit_id: Mapped[str | None] = mapped_column(ForeignKey("deposits.id"))


class TreasurySweepRow(Base):
    """How far the history of the treasury's token account was read. signature: the newest that was; None: none yet."""

    __tablename__ = "treasury_sweeps"

    account: Mapped[str] = mapped_column(primary_key=True)
    signature: Mapped[str | None]
    swept_at: Mapped[datetime] = mapped_column(Timestamp)
