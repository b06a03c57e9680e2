"""What billing does when the scheduler has spoken. Each handler may run twice and judges by its own rows."""

from datetime import datetime

from sqlalchemy.orm import Session

from billing import funding, leases, wallets
from infra.outbox import subscribe
from market.messages import AttemptEnded, AttemptPlaced, JobEnded, JobRequeued, WalletChanged


@subscribe(AttemptPlaced, "billing.bind_window")
def attempt_placed(session: Session, message: AttemptPlaced, now: datetime) -> None:
    """The hold that waited for this attempt becomes its lease's first window."""
    leases.bind(session, message, now)


@subscribe(AttemptEnded, "billing.capture")
def attempt_ended(session: Session, message: AttemptEnded, now: datetime) -> None:
    """The lease is billed to its end, at once if its readings are complete."""
    leases.end(session, message, now)


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


@subscribe(JobEnded, "billing.release_ended")
def job_ended(session: Session, message: JobEnded, now: datetime) -> None:
    """What waits for an attempt that never comes is given back."""
    funding.end_job(session, message.job_id, message.attempts_placed, now)


@subscribe(WalletChanged, "billing.note_wallet")
def wallet_changed(session: Session, message: WalletChanged, now: datetime) -> None:
    """The next payout goes there."""
    wallets.set_wallet(session, message.provider_id, message.wallet_address, message.changed_at)
