"""Payouts to providers, the chain transactions that carry them (and epochs' anchors), and every signing of those."""

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from infra.database import Base, Timestamp


class PayoutWalletRow(Base):
    """Where a provider is paid, as it last said. changed_at: of that wish, so that an older one never wins."""

    __tablename__ = "payout_wallets"

    provider_id: Mapped[str] = mapped_column(primary_key=True)
    address: Mapped[str | None]
    changed_at: Mapped[datetime] = mapped_column(Timestamp)


class PayoutRow(Base):
    """A provider's payable balance on its way to its wallet.

    state: `open` (waits for a batch or is in one), `confirmed` (the chain has finalized it), `returned` (the wallet
    cannot take it; the money is payable again, `detail` says why).
    """

    __tablename__ = "payouts"
    __table_args__ = (
        CheckConstraint("state IN ('open', 'confirmed', 'returned')", name="state"),
        CheckConstraint("amount_microusd > 0", name="amount"),
        CheckConstraint("(state = 'open') = (ended_at IS NULL)", name="ended"),
        CheckConstraint("state <> 'confirmed' OR batch_id IS NOT NULL", name="confirmed"),
        Index("ix_payouts_waiting", "id", postgresql_where=text("state = 'open' AND batch_id IS NULL")),
        Index("ix_payouts_provider_id", "provider_id"),
        Index("ix_payouts_batch_id", "batch_id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    provider_id: Mapped[str]
    wallet_address: Mapped[str]
    amount_microusd: Mapped[int]
    epoch: Mapped[int | None] = mapped_column(ForeignKey("epochs.number"))
    state: Mapped[str] = mapped_column(server_default=text("'open'"))
    batch_id: Mapped[str | None] = mapped_column(ForeignKey("settlement_batches.id"))
    detail: Mapped[str] = mapped_column(server_default=text("''"))
    created_at: Mapped[datetime] = mapped_column(Timestamp)
    ended_at: Mapped[datetime | None] = mapped_column(Timestamp)


class SettlementBatchRow(Base):
    """One chain transaction to be made exactly once: a batch of payouts, or the anchor of an epoch.

    memo: unique, so that the transaction can be found from the chain alone. done_at: finalized, or empty of payouts.
    """

    __tablename__ = "settlement_batches"
    __table_args__ = (
        CheckConstraint("(kind = 'anchor') = (epoch IS NOT NULL) AND kind IN ('anchor', 'payouts')", name="kind"),
        Index("ix_settlement_batches_open", "id", postgresql_where=text("done_at IS NULL")),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    epoch: Mapped[int | None] = mapped_column(ForeignKey("epochs.number"), unique=True)
    memo: Mapped[str] = mapped_column(unique=True)
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
