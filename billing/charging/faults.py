"""Whose fault an attempt's end was, by kept facts, and the credit that follows by rule.

Time that was not delivered is not billed. Beyond that, an end that its provider or the platform caused loses the work
since the last window began: what was charged for that window is given back, by whoever caused it.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from billing.charging import adjustments
from billing.charging.adjustments import Bearer, ReserveShort
from billing.tables.bills import UsageLineRow
from billing.tables.metering import MeteredLeaseRow
from market.states import Reason

log = structlog.get_logger(__name__)
LEASES_MAX = 100
RULE = "rule"


class Fault(StrEnum):
    """Who caused an end. CUSTOMER: its command's exit, its stop, its limits, its money."""

    CUSTOMER = "customer"
    PROVIDER = "provider"
    PLATFORM = "platform"


REASONS = {
    Fault.PROVIDER: "its node was lost: what the last window had cost is given back",
    Fault.PLATFORM: "its lease was not renewed although it was paid for: what the last window had cost is given back",
}


def fault_of(reason: Reason, *, more_was_due: bool, funding_refused: bool) -> Fault:
    """more_was_due: a next window was still to be funded, so neither its duration nor its end was reached."""
    if reason is Reason.FAILED_PROVIDER_LOST:
        return Fault.PROVIDER
    if reason is Reason.STOPPED_LEASE_EXPIRED and more_was_due and not funding_refused:
        # A node that is heard and was given no more time: whoever should have given it is the market.
        return Fault.PLATFORM
    return Fault.CUSTOMER


def owes_minimum(fault: Fault, reason: Reason) -> bool:
    """Whether an attempt that ended so owes the minimum charge: its customer ended it, and nobody else's wish."""
    return fault is Fault.CUSTOMER and reason is not Reason.STOPPED_SPOT_RECLAIMED


@dataclass(frozen=True, slots=True)
class Page:
    """made: how many credits; last: the lease to go on after, None at the end."""

    made: int
    last: str | None


def credit_due(session: Session, now: datetime, *, after: str = "") -> Page:
    """Give back what is due for the next leases that are settled, each once. One that waits for the reserve is passed
    over, so that those behind it are not kept waiting."""
    leases = session.scalars(
        select(MeteredLeaseRow)
        .where(MeteredLeaseRow.credit_due.is_not(None), MeteredLeaseRow.settled_at.is_not(None))
        .where(MeteredLeaseRow.lease_id > after)
        .order_by(MeteredLeaseRow.lease_id)
        .limit(LEASES_MAX)
        .with_for_update(skip_locked=True, key_share=True)
    ).all()
    made = sum(_credit(session, lease, now) for lease in leases)
    return Page(made, leases[-1].lease_id if len(leases) == LEASES_MAX else None)


def _credit(session: Session, lease: MeteredLeaseRow, now: datetime) -> bool:
    last = session.scalar(
        select(UsageLineRow)
        .where(UsageLineRow.lease_id == lease.lease_id)
        .order_by(UsageLineRow.window_number.desc())
        .limit(1)
    )
    fault = Fault(lease.credit_due or Fault.CUSTOMER)
    left = adjustments.left_of(session, last.id) if last is not None else 0
    if last is not None and left > 0:
        try:
            adjustments.reverse(
                session,
                last.id,
                left,
                reason=REASONS[fault],
                by=RULE,
                now=now,
                cause=fault,
                bearer=Bearer.PROVIDER if fault is Fault.PROVIDER else Bearer.PLATFORM,
            )
        except ReserveShort as error:
            log.warning("credit_waits", lease_id=lease.lease_id, detail=error.detail)
            return False
    lease.credit_due = None
    return left > 0
