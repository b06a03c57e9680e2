"""Accounts, transfers and entries: the double-entry ledger. Its triggers are in billing/tables/triggers.py."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from infra.database import Base, Timestamp


class AccountRow(Base):
    """A stored balance. Only entries move it; all balances together are always zero.

    budgeted: what an organization spends is bound by budgets; whoever locks the account to spend learns it with that.

    `treasury` is the USDC in custody seen from outside: what customers and providers own, with the sign turned.
    """

    __tablename__ = "accounts"
    __table_args__ = (
        CheckConstraint(
            "kind IN ('available', 'held', 'withdrawing', 'payable', 'paying', 'fees', 'rounding', 'rent', 'treasury')",
            name="kind",
        ),
        CheckConstraint(
            "CASE WHEN kind = 'treasury' THEN balance_microusd <= 0 ELSE balance_microusd >= 0 END", name="sign"
        ),
        {"postgresql_with": {"fillfactor": 50}},
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    balance_microusd: Mapped[int] = mapped_column(server_default=text("0"))
    budgeted: Mapped[bool] = mapped_column(server_default=text("false"))


class TransferRow(Base):
    """A balanced set of entries. key: its natural name, such as `capture:win_...`, so that it happens once."""

    __tablename__ = "transfers"

    id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))


class EntryRow(Base):
    """One signed leg of a transfer on one account. That both exist is required by the trigger entries_apply, by set."""

    __tablename__ = "entries"
    __table_args__ = (
        CheckConstraint("amount_microusd <> 0", name="amount"),
        Index("ix_entries_account_id", "account_id", "transfer_id"),
    )

    transfer_id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(primary_key=True)
    amount_microusd: Mapped[int]
