"""Payouts to providers and withdrawals of customers, the chain transactions that carry them, and every signing."""

from datetime import datetime

from sqlalchemy import ARRAY, CheckConstraint, ForeignKey, Index, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from infra.database import Base, Timestamp


class PayoutWalletRow(Base):
    """Where and when a provider is paid, as it last said. changed_at: of that wish, so that an older one never wins.

    payable_from: the end of the address's cool-down; settled_address: the last one that had none left; account_missing:
    its token account is to be made from what it earns; held_at, held_reason: the chain refused to pay it.
    threshold_microusd, every_seconds: of its payouts; None: as the market has it.
    """

    __tablename__ = "payout_wallets"
    __table_args__ = (CheckConstraint("threshold_microusd > 0 AND every_seconds > 0", name="terms"),)

    provider_id: Mapped[str] = mapped_column(primary_key=True)
    address: Mapped[str | None]
    changed_at: Mapped[datetime] = mapped_column(Timestamp)
    payable_from: Mapped[datetime | None] = mapped_column(Timestamp)
    settled_address: Mapped[str | None]
    account_missing: Mapped[bool] = mapped_column(server_default=text("false"))
    held_at: Mapped[datetime | None] = mapped_column(Timestamp)
    held_reason: Mapped[str] = mapped_column(server_default=text("''"))
    threshold_microusd: Mapped[int | None]
    every_seconds: Mapped[int | None]


class PayoutRow(Base):
    """A provider's payable balance, or what an organization withdraws, on its way to its owner's wallet.

    state: `open` (waits for a batch or is in one), `confirmed` (the chain has finalized it), `returned` (the wallet
    cannot take it; the money is its owner's again, `detail` says why). rent_microusd: the part that is kept for making
    the wallet's token account; account: what the chain was found to have of that, None before it was asked.
    """

    __tablename__ = "payouts"
    __table_args__ = (
        CheckConstraint("state IN ('open', 'confirmed', 'returned')", name="state"),
        CheckConstraint("(provider_id IS NULL) <> (organization_id IS NULL)", name="owner"),
        CheckConstraint("amount_microusd > 0", name="amount"),
        CheckConstraint("rent_microusd BETWEEN 0 AND amount_microusd - 1", name="rent"),
        CheckConstraint("account IN ('there', 'missing')", name="account"),
        CheckConstraint("(state = 'open') = (ended_at IS NULL)", name="ended"),
        CheckConstraint("state <> 'confirmed' OR batch_id IS NOT NULL", name="confirmed"),
        Index("ix_payouts_waiting", "id", postgresql_where=text("state = 'open' AND batch_id IS NULL")),
        Index("ix_payouts_provider_id", "provider_id", "created_at"),
        Index("ix_payouts_organization_id", "organization_id", postgresql_where=text("organization_id IS NOT NULL")),
        Index("ix_payouts_created_at", "created_at"),
        Index("ix_payouts_batch_id", "batch_id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    provider_id: Mapped[str | None]
    organization_id: Mapped[str | None]
    wallet_address: Mapped[str]
    amount_microusd: Mapped[int]
    epoch: Mapped[int | None] = mapped_column(ForeignKey("epochs.number"))
    state: Mapped[str] = mapped_column(server_default=text("'open'"))
    batch_id: Mapped[str | None] = mapped_column(ForeignKey("settlement_batches.id"))
    rent_microusd: Mapped[int] = mapped_column(server_default=text("0"))
    account: Mapped[str | None]
    detail: Mapped[str] = mapped_column(server_default=text("''"))
    created_at: Mapped[datetime] = mapped_column(Timestamp)
    ended_at: Mapped[datetime | None] = mapped_column(Timestamp)


class WithdrawalRow(Base):
    """What an organization wants back. It waits until payable_from and for room under the caps; then it is a payout.

    cancelled_at: its money was given back before there was a payout.
    """

    __tablename__ = "withdrawals"
    __table_args__ = (
        CheckConstraint("amount_microusd > 0", name="amount"),
        CheckConstraint("payout_id IS NULL OR cancelled_at IS NULL", name="cancelled"),
        Index("ix_withdrawals_organization_id", "organization_id", "id"),
        Index(
            "ix_withdrawals_waiting",
            "payable_from",
            "id",
            postgresql_where=text("payout_id IS NULL AND cancelled_at IS NULL"),
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    organization_id: Mapped[str]
    wallet_address: Mapped[str]
    amount_microusd: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(Timestamp)
    payable_from: Mapped[datetime] = mapped_column(Timestamp)
    cancelled_at: Mapped[datetime | None] = mapped_column(Timestamp)
    payout_id: Mapped[str | None] = mapped_column(ForeignKey("payouts.id"), unique=True)


class SettlementBatchRow(Base):
    """One chain transaction to be made exactly once: a batch of payouts, a pull, an anchor, or a lookup table's growth.

    memo: unique, so that the transaction can be found from the chain alone. done_at: finalized, or empty of payouts.
    table_address: the table that payouts go through, or that grows by `entries` (a new one is named by its signing).
    """

    __tablename__ = "settlement_batches"
    __table_args__ = (
        CheckConstraint(
            "(kind = 'anchor') = (epoch IS NOT NULL) AND (kind = 'table') = (entries IS NOT NULL) "
            "AND kind IN ('anchor', 'payouts', 'table', 'pull')",
            name="kind",
        ),
        Index(
            "uq_settlement_batches_growing",
            "kind",
            unique=True,
            postgresql_where=text("kind = 'table' AND done_at IS NULL"),
        ),
        Index("ix_settlement_batches_open", "id", postgresql_where=text("done_at IS NULL")),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    epoch: Mapped[int | None] = mapped_column(ForeignKey("epochs.number"), unique=True)
    memo: Mapped[str] = mapped_column(unique=True)
    table_address: Mapped[str | None]
    entries: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    created_at: Mapped[datetime] = mapped_column(Timestamp)
    done_at: Mapped[datetime | None] = mapped_column(Timestamp)


class SigningRow(Base):
    """The exact bytes of one signing of a batch, stored before they are sent. At most one of a batch can still land.

    outcome: None while it may land, then `finalized`, `failed` (finalized with an error) or `expired` (can never land).
    """

    __tablename__ = "settlement_signings"
    __table_args__ = (
        UniqueConstraint("batch_id", "number"),
        CheckConstraint("outcome IN ('finalized', 'failed', 'expired')", name="outcome"),
        Index("uq_settlement_signings_live", "batch_id", unique=True, postgresql_where=text("outcome IS NULL")),
        Index(
            "uq_settlement_signings_finalized", "batch_id", unique=True, postgresql_where=text("outcome = 'finalized'")
        ),
    )

    signature: Mapped[str] = mapped_column(primary_key=True)
    batch_id: Mapped[str] = mapped_column(ForeignKey("settlement_batches.id"))
    number: Mapped[int]
    wire: Mapped[bytes]
    last_valid_block_height: Mapped[int]
    signed_at: Mapped[datetime] = mapped_column(Timestamp)
    outcome: Mapped[str | None]
    detail: Mapped[str] = mapped_column(server_default=text("''"))


class LookupTableRow(Base):
    """A lookup table of the treasury's on the chain. retired_at: it is not what was written to it, and not used."""

    __tablename__ = "lookup_tables"

    address: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(Timestamp)
    retired_at: Mapped[datetime | None] = mapped_column(Timestamp)


class LookupEntryRow(Base):
    """An address that is finalized at its position of a table."""

    __tablename__ = "lookup_entries"
    __table_args__ = (Index("ix_lookup_entries_account", "account"),)

    table_address: Mapped[str] = mapped_column(ForeignKey("lookup_tables.address"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    account: Mapped[str]
