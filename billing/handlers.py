"""What billing does when the scheduler has spoken. Each handler may run twice and judges by its own rows."""

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from billing.charging import funding
from billing.metering import leases
from billing.settling import wallets
from infra.outbox import subscribe, subscribe_many
from market.messages import AttemptEnded, AttemptPlaced, JobEnded, JobRequeued, WalletChanged

BIND_PATIENCE, BILL_PATIENCE = 0.2, 0.6
"""Seconds. Nobody waits for either, and of many at once each costs a fraction; a lease is bound before it is billed."""


@subscribe_many(AttemptPlaced, "billing.bind_window", patience_seconds=BIND_PATIENCE)
def attempts_placed(session: Session, messages: Sequence[AttemptPlaced], now: datetime) -> Collection[AttemptPlaced]:
    """The hold that waited for each attempt becomes its lease's first window."""
    return leases.bind_many(session, messages, now)


@subscribe_many(AttemptEnded, "billing.capture", patience_seconds=BILL_PATIENCE)
def attempts_ended(session: Session, messages: Sequence[AttemptEnded], now: datetime) -> Collection[AttemptEnded]:
    """Each lease is billed to its end, at once if its readings are complete."""
    return leases.end_many(session, messages, now)


@subscribe(JobRequeued, "billing.fund_requeued")
def job_requeued(session: Session, message: JobRequeued, now: datetime) -> None:
    """The first window of the next attempt is held, or refused."""
    funding.requeue(
        session,
        message.job_id,
        attempts_placed=message.attempts_placed,
        remaining_seconds=message.remaining_seconds,
        now=now,
    )


@subscribe_many(JobEnded, "billing.release_ended", patience_seconds=BILL_PATIENCE)
def jobs_ended(session: Session, messages: Sequence[JobEnded], now: datetime) -> Collection[JobEnded]:
    """What waits for an attempt that never comes is given back."""
    waiting = funding.end_jobs(session, {message.job_id: message.attempts_placed for message in messages}, now)
    return [message for message in messages if message.job_id in waiting]


@subscribe(WalletChanged, "billing.note_wallet")
def wallet_changed(session: Session, message: WalletChanged, now: datetime) -> None:
    """The next payout goes there."""
    wallets.set_wallet(session, message.provider_id, message.wallet_address, message.changed_at)
