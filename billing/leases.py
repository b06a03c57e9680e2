"""Leases as billing hears of them: bound to the money that waits for them, and ended."""

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from billing import capture, holds, ledger, usage
from billing.tables.funding import HoldRow, WindowRow
from billing.tables.metering import MeteredLeaseRow
from billing.windows import Rate, renewal
from infra.outbox import NotReady
from infra.settings import Settings, settings
from market.clock import milliseconds_between
from market.ids import new_id
from market.messages import AttemptEnded, AttemptPlaced


def bind(session: Session, placed: AttemptPlaced, now: datetime, config: Settings | None = None) -> None:
    """Freeze the lease's price and fee, and make the hold that waits for this attempt its first window.

    The hold was made at the job's price limit; what the found price does not need goes back at once. Raises NotReady
    when there is no such hold yet.
    """
    if session.get(MeteredLeaseRow, placed.lease_id) is not None:
        return
    hold = session.scalars(
        select(HoldRow)
        .where(
            HoldRow.job_id == placed.job_id,
            HoldRow.attempt_number == placed.attempt_number,
            HoldRow.window_number == 0,
            HoldRow.settled_at.is_(None),
        )
        .with_for_update(key_share=True)
    ).one_or_none()
    if hold is None:
        raise NotReady(f"no hold waits for attempt {placed.attempt_number} of {placed.job_id}")
    until_at = min(placed.held_until, placed.granted_at + timedelta(seconds=hold.seconds))
    usage.announce(session, placed.lease_id)
    session.add(_lease_row(placed, until_at, (config or settings()).fee_basis_points))
    session.flush()
    session.add(
        WindowRow(
            id=new_id("win"),
            lease_id=placed.lease_id,
            number=0,
            hold_id=hold.id,
            from_at=placed.granted_at,
            until_at=until_at,
        )
    )
    seconds = -(-milliseconds_between(placed.granted_at, until_at) // 1000)
    rate = Rate(placed.quantity_milli, placed.price_microusd_per_unit_hour)
    trimmed = holds.trim(hold, rate.hold_microusd(seconds))
    session.flush()
    usage.adopt(session, placed.lease_id, now)
    ledger.post(session, [trimmed])


def end(session: Session, ended: AttemptEnded, now: datetime, config: Settings | None = None) -> None:
    """No time after ended_at is billed; settle everything if the readings are complete, else `capture` does so soon.

    Raises NotReady for a lease that billing has not heard of.
    """
    lease = session.get(MeteredLeaseRow, ended.lease_id, with_for_update={"key_share": True}, populate_existing=True)
    if lease is None:
        raise NotReady(f"{ended.lease_id} is not known to billing yet")
    if lease.ended_at is None:
        lease.ended_at = max(lease.granted_at, ended.ended_at)
        lease.ended_noticed_at = now
        lease.renew_at = None
        session.flush()
    capture.capture_leases(session, [ended.lease_id], now, config)


def _lease_row(placed: AttemptPlaced, until_at: datetime, fee_basis_points: int) -> MeteredLeaseRow:
    return MeteredLeaseRow(
        lease_id=placed.lease_id,
        job_id=placed.job_id,
        organization_id=placed.organization_id,
        attempt_id=placed.attempt_id,
        attempt_number=placed.attempt_number,
        node_id=placed.node_id,
        provider_id=placed.provider_id,
        unit=placed.unit,
        quantity_milli=placed.quantity_milli,
        price_microusd_per_unit_hour=placed.price_microusd_per_unit_hour,
        fee_basis_points=fee_basis_points,
        simulated=placed.simulated,
        trace=placed.trace,
        granted_at=placed.granted_at,
        funded_until=until_at,
        window_count=1,
        renew_at=renewal(placed.granted_at, until_at),
    )
