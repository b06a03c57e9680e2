"""Accounts, transfers and entries: the double-entry ledger. Its triggers are in billing/tables/triggers.py."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from infra.database import Base, Timestamp


class AccountRow(Base):
    """A stored balance. Only entries move it; all balances together are always zero.

    `treasury` is the USDC in custody seen from outside: what customers and providers own, with the sign turned.
    """

    __tablename__ = "accounts"
    __table_args__ = (
        CheckConstraint(
            "kind IN ('available', 'held', 'payable', 'paying', 'fees', 'rounding', 'rent', 'treasury')", name="kind"
        ),
        CheckConstraint(
            "CASE WHEN kind = 'treasury' THEN balance_microusd <= 0 ELSE balance_microusd >= 0 END", name="sign"
        ),
        {"postgresql_with": {"fillfactor": 50}},
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    balance_microusd: Mapped[int] = mapped_column(server_default=text("0"))


class TransferRow(Base):
    """A balanced set of entries. key: its natural name, such as `capture:win_...`, so that it happens once."""

    __tablename__ = "transfers"

    id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))


class EntryRow(Base):
    """One signed leg of a transfer on one account."""

    __tablename__ = "entries"
    __table_args__ = (
        CheckConstraint("amount_microusd <> 0", name="amount"),
        Index("ix_entries_account_id", "account_id", "transfer_id"),
    )

    transfer_id: Mapped[str] = mapped_column(ForeignKey("transfers.id"), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id"), primary_key=True)
    amount_microusd: Mapped[int]
