"""Capturing: settles the windows that are due, each once: hold → provider, fee and rounding; the rest is released."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from billing.charging import holds, rating
from billing.ledger import accounts, posting
from billing.tables.bills import UsageLineRow
from billing.tables.funding import HoldRow, WindowRow
from billing.tables.metering import MeteredLeaseRow
from infra.bulk import insert_rows, write_changes
from infra.loading import Loading
from infra.settings import Settings, settings
from infra.statements import Statement
from infra.telemetry import WINDOWS_CAPTURED, count
from infra.wakeups import after_commit
from market.ids import new_id

LEASES_MAX = 200
_LEASES = Loading(
    {"lease": MeteredLeaseRow},
    "FROM metered_leases AS lease WHERE lease.lease_id = ANY(cast(:leases AS text[])) "
    "ORDER BY lease.lease_id FOR NO KEY UPDATE",
)
_OPEN_WINDOWS = Loading(
    {"window": WindowRow, "hold": HoldRow},
    """
    FROM windows AS "window" JOIN holds AS hold ON hold.id = "window".hold_id
    WHERE "window".lease_id = ANY(cast(:leases AS text[])) AND "window".settled_at IS NULL
    ORDER BY "window".lease_id, "window".number
    """,
)
_METERS = Statement(
    """
    SELECT stream.lease_id, sum(stream.durable_run_ms) AS run_ms, max(stream.durable_received_at) AS reached_at,
        bool_or(stream.finished_at IS NOT NULL) AS final
    FROM reading_streams AS stream
    JOIN metered_leases AS lease ON lease.lease_id = stream.lease_id AND lease.node_id = stream.node_id
    WHERE stream.lease_id = ANY(cast(:leases AS text[]))
    GROUP BY stream.lease_id
    """
)


@dataclass(frozen=True, slots=True)
class _Open:
    """A window that is not settled yet, and its hold."""

    window: WindowRow
    hold: HoldRow


def capture_due(session: Session, now: datetime, config: Settings | None = None, limit: int = LEASES_MAX) -> int:
    """Settle what can be settled of every lease with a window that is over, or that has ended; returns lines written.

    Leases that another transaction is capturing are skipped.
    """
    over = select(WindowRow.lease_id).where(WindowRow.settled_at.is_(None), WindowRow.until_at <= now)
    due = (
        select(MeteredLeaseRow)
        .where(
            MeteredLeaseRow.settled_at.is_(None),
            or_(MeteredLeaseRow.ended_at.is_not(None), MeteredLeaseRow.lease_id.in_(over)),
        )
        .limit(limit)
    )
    locked = due.order_by(MeteredLeaseRow.lease_id).with_for_update(skip_locked=True, key_share=True)
    leases = session.scalars(locked, execution_options={"populate_existing": True}).all()
    return capture_locked(session, leases, now, config)


def capture_leases(session: Session, lease_ids: Sequence[str], now: datetime, config: Settings | None = None) -> int:
    """As capture_due, for these leases, waiting for whoever is at them."""
    return capture_locked(session, lock_leases(session, lease_ids), now, config)


def lock_leases(session: Session, lease_ids: Sequence[str]) -> Sequence[MeteredLeaseRow]:
    """The leases that billing knows of these, locked for a capture."""
    return [lease for (lease,) in _LEASES.rows(session, {"leases": list(lease_ids)})]


def capture_locked(
    session: Session, leases: Sequence[MeteredLeaseRow], now: datetime, config: Settings | None = None
) -> int:
    """As capture_due, for leases that the caller has locked."""
    return _capture(session, leases, now, config or settings()) if leases else 0


def _capture(session: Session, leases: Sequence[MeteredLeaseRow], now: datetime, config: Settings) -> int:
    """Load, decide, apply; the leases are locked."""
    lease_ids = [lease.lease_id for lease in leases]
    windows, meters = _open_windows(session, lease_ids), _meters(session, lease_ids)
    final_wait = timedelta(seconds=config.final_reading_wait_seconds)
    transfers: list[posting.Transfer] = []
    changed: list[HoldRow] = []
    lines: list[dict[str, object]] = []
    for lease in leases:
        of_lease = windows.get(lease.lease_id, {})
        _notice_over(of_lease.values(), now)
        offered = [_offered(item) for item in of_lease.values()]
        meter = meters.get(lease.lease_id, rating.Meter())
        settled = rating.settle(_lease(lease), offered, meter, now, final_wait)
        for outcome in settled:
            item = of_lease[outcome.number]
            item.window.settled_at = now
            changed.append(item.hold)
            transfers.append(holds.settle(item.hold, outcome.captured_microusd, now))
            if outcome.line is not None:
                transfers.append(_capture_transfer(lease, item.window, outcome.line))
                lines.append(_line_row(lease, item.window, outcome.line, now))
                lease.metered_ms = outcome.line.to_ms
                lease.charged_microusd += outcome.line.amount_microusd
        if lease.ended_at is not None and lease.settled_at is None and len(settled) == len(of_lease):
            lease.settled_at = now
            after_commit(session, f"over:{lease.job_id}")
        if settled:
            after_commit(session, f"job:{lease.job_id}", f"organization:{lease.organization_id}")
    with session.no_autoflush:
        locked = holds.locked_first(session, changed, transfers)
    write_changes(session)
    count(session, WINDOWS_CAPTURED, len(lines))
    insert_rows(session, UsageLineRow, lines)
    posting.post(session, transfers, locked=locked)
    return len(lines)


def _open_windows(session: Session, lease_ids: Sequence[str]) -> dict[str, dict[int, _Open]]:
    """By lease and number."""
    rows = _OPEN_WINDOWS.rows(session, {"leases": list(lease_ids)})
    found: dict[str, dict[int, _Open]] = {}
    for window, hold in rows:
        found.setdefault(window.lease_id, {})[window.number] = _Open(window, hold)
    return found


def _meters(session: Session, lease_ids: Sequence[str]) -> dict[str, rating.Meter]:
    """What the durable readings of the lease's own node say; several streams add up."""
    rows = _METERS.rows(session, {"leases": list(lease_ids)})
    return {row.lease_id: rating.Meter(int(row.run_ms), row.reached_at, row.final) for row in rows}


def _notice_over(items: Iterable[_Open], now: datetime) -> None:
    for item in items:
        if item.window.noticed_over_at is None and item.window.until_at <= now:
            item.window.noticed_over_at = now


def _lease(row: MeteredLeaseRow) -> rating.Lease:
    return rating.Lease(
        quantity_milli=row.quantity_milli,
        price_microusd_per_unit_hour=row.price_microusd_per_unit_hour,
        fee_basis_points=row.fee_basis_points,
        discount_basis_points=row.discount_basis_points,
        minimum_ms=row.minimum_ms,
        granted_at=row.granted_at,
        ended_at=row.ended_at,
        ended_noticed_at=row.ended_noticed_at,
        metered_ms=row.metered_ms,
        charged_microusd=row.charged_microusd,
    )


def _offered(item: _Open) -> rating.OpenWindow:
    window = item.window
    return rating.OpenWindow(window.number, window.until_at, window.noticed_over_at, item.hold.amount_microusd)


def _capture_transfer(lease: MeteredLeaseRow, window: WindowRow, line: rating.Line) -> posting.Transfer:
    entries = {
        accounts.held(lease.organization_id): -line.amount_microusd,
        accounts.payable(lease.provider_id): line.split.provider_microusd,
        accounts.FEES: line.split.fee_microusd,
        accounts.ROUNDING: line.split.rounding_microusd,
    }
    return posting.Transfer(f"capture:{window.id}", entries)


def _line_row(lease: MeteredLeaseRow, window: WindowRow, line: rating.Line, now: datetime) -> dict[str, object]:
    return {
        "id": new_id("line"),
        "window_id": window.id,
        "lease_id": lease.lease_id,
        "window_number": window.number,
        "job_id": lease.job_id,
        "attempt_number": lease.attempt_number,
        "organization_id": lease.organization_id,
        "provider_id": lease.provider_id,
        "unit": lease.unit,
        "quantity_milli": lease.quantity_milli,
        "price_microusd_per_unit_hour": lease.price_microusd_per_unit_hour,
        "fee_basis_points": lease.fee_basis_points,
        "discount_basis_points": lease.discount_basis_points,
        "from_ms": line.from_ms,
        "to_ms": line.to_ms,
        "minimum_ms": line.minimum_ms,
        "charged_before_microusd": line.charged_before_microusd,
        "amount_microusd": line.amount_microusd,
        "provider_microusd": line.split.provider_microusd,
        "fee_microusd": line.split.fee_microusd,
        "rounding_microusd": line.split.rounding_microusd,
        "capped": line.capped,
        "captured_at": now,
    }
