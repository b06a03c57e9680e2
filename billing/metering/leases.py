"""Leases as billing hears of them: bound to the money that waits for them, and ended."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from billing.charging import capture, holds
from billing.charging.faults import Fault, fault_of, owes_minimum
from billing.charging.windows import Rate, renewal
from billing.ledger import posting
from billing.metering import components, usage
from billing.tables.funding import HoldRow, WindowRow
from billing.tables.metering import MeteredLeaseRow
from infra.bulk import insert_rows, write_changes
from infra.loading import Loading
from infra.outbox import NotReady
from infra.settings import Settings, settings
from infra.statements import Statement
from market.clock import milliseconds_between
from market.ids import new_id
from market.messages import AttemptEnded, AttemptPlaced

_BOUND = Statement("SELECT lease_id FROM metered_leases WHERE lease_id = ANY(cast(:leases AS text[]))")
_WAITING_HOLDS = Loading(
    {"hold": HoldRow},
    "FROM holds AS hold WHERE hold.job_id = ANY(cast(:jobs AS text[])) AND hold.window_number = 0 "
    "AND hold.settled_at IS NULL ORDER BY hold.id FOR NO KEY UPDATE",
)


def bind(session: Session, placed: AttemptPlaced, now: datetime, config: Settings | None = None) -> None:
    """As bind_many, for one lease. Raises NotReady when there is no hold for it yet."""
    if bind_many(session, [placed], now, config):
        raise NotReady(f"no hold waits for attempt {placed.attempt_number} of {placed.job_id}")


def bind_many(
    session: Session, placed: Sequence[AttemptPlaced], now: datetime, config: Settings | None = None
) -> list[AttemptPlaced]:
    """Freeze each lease's rates, and make the hold that waits for its attempt its first window.

    The hold was made at the job's price limit; what the found price does not need goes back at once. Returns those
    for which no hold is there yet; leases that are bound already are passed over.
    """
    config = config or settings()
    bound = _bound(session, [item.lease_id for item in placed])
    fresh = [item for item in placed if item.lease_id not in bound]
    waiting = _waiting_holds(session, fresh)
    ready = {item.lease_id: item for item in fresh if (item.job_id, item.attempt_number) in waiting}
    usage.announce(session, ready)
    rows, windows, trimmed = [], [], []
    for item in ready.values():
        hold = waiting[item.job_id, item.attempt_number]
        until_at = min(item.held_until, item.granted_at + timedelta(seconds=hold.seconds))
        seconds = -(-milliseconds_between(item.granted_at, until_at) // 1000)
        rate = Rate(item.quantity_milli, item.price_microusd_per_unit_hour, config.minimum_seconds)
        trimmed.append(holds.trim(hold, rate.hold_microusd(seconds)))
        rows.append(_lease_row(item, until_at, config))
        windows.append(_first_window(item, hold, until_at))
    with session.no_autoflush:
        changed = [waiting[item.job_id, item.attempt_number] for item in ready.values()]
        locked = holds.locked_first(session, changed, trimmed)
    insert_rows(session, MeteredLeaseRow, rows)
    components.freeze(session, {item.lease_id: item.components for item in ready.values() if item.components})
    insert_rows(session, WindowRow, windows)
    write_changes(session)
    usage.adopt(session, ready, now)
    posting.post(session, trimmed, locked=locked)
    return [item for item in fresh if item.lease_id not in ready]


def end(session: Session, ended: AttemptEnded, now: datetime, config: Settings | None = None) -> None:
    """As end_many, for one lease. Raises NotReady for a lease that billing has not heard of."""
    if end_many(session, [ended], now, config):
        raise NotReady(f"{ended.lease_id} is not known to billing yet")


def end_many(
    session: Session, ended: Sequence[AttemptEnded], now: datetime, config: Settings | None = None
) -> list[AttemptEnded]:
    """No time after ended_at is billed; settle everything if the readings are complete, else `capture` does so soon.

    Returns those whose lease billing has not heard of.
    """
    by_lease = {item.lease_id: item for item in ended}
    leases = capture.lock_leases(session, list(by_lease))
    for lease in leases:
        if lease.ended_at is None:
            lease.ended_at = max(lease.granted_at, by_lease[lease.lease_id].ended_at)
            lease.ended_noticed_at = now
            reason = by_lease[lease.lease_id].reason
            fault = fault_of(
                reason,
                more_was_due=lease.renew_at is not None,
                funding_refused=lease.funding_refused_at is not None,
            )
            if fault is not Fault.CUSTOMER:
                lease.credit_due = fault
            if not owes_minimum(fault, reason):
                lease.minimum_ms = 0
            lease.renew_at = None
    capture.capture_locked(session, leases, now, config)
    known = {lease.lease_id for lease in leases}
    return [item for item in ended if item.lease_id not in known]


def _bound(session: Session, lease_ids: Sequence[str]) -> set[str]:
    return {row.lease_id for row in _BOUND.rows(session, {"leases": list(lease_ids)})}


def _waiting_holds(session: Session, placed: Sequence[AttemptPlaced]) -> dict[tuple[str, int], HoldRow]:
    """By job and attempt, locked: the first holds that no window has yet."""
    rows = _WAITING_HOLDS.rows(session, {"jobs": [item.job_id for item in placed]})
    return {(hold.job_id, hold.attempt_number): hold for (hold,) in rows}


def _first_window(placed: AttemptPlaced, hold: HoldRow, until_at: datetime) -> dict[str, object]:
    return {
        "id": new_id("win"),
        "lease_id": placed.lease_id,
        "number": 0,
        "hold_id": hold.id,
        "from_at": placed.granted_at,
        "until_at": until_at,
    }


def _lease_row(placed: AttemptPlaced, until_at: datetime, config: Settings) -> dict[str, object]:
    return {
        "lease_id": placed.lease_id,
        "job_id": placed.job_id,
        "organization_id": placed.organization_id,
        "attempt_id": placed.attempt_id,
        "attempt_number": placed.attempt_number,
        "node_id": placed.node_id,
        "provider_id": placed.provider_id,
        "unit": placed.unit,
        "quantity_milli": placed.quantity_milli,
        "price_microusd_per_unit_hour": placed.price_microusd_per_unit_hour,
        # Both are frozen, and the discount comes out of the fee: a fee that was lowered since still covers it.
        "fee_basis_points": max(config.fee_basis_points, placed.discount_basis_points),
        "discount_basis_points": placed.discount_basis_points,
        "minimum_ms": config.minimum_seconds * 1000,
        "simulated": placed.simulated,
        "trace": placed.trace,
        "granted_at": placed.granted_at,
        "funded_until": until_at,
        "window_count": 1,
        "renew_at": renewal(placed.granted_at, until_at),
    }
