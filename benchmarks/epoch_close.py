"""How long closing an epoch over a million usage lines takes, and how much memory; and verifying a receipt (issue 5).

One durable PostgreSQL; the lines are made beforehand, of 10,000 leases. The close is the market's own: leaves, stamps,
root and the epoch's row, committed. Memory is the most this process held. Then a receipt over the closed epoch is
verified, and the epoch's published lines lead to its root.
"""

import argparse
import json
import os
import resource
import statistics
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from benchmarks.databases import durable_database
from billing.settling import epochs, publication
from billing.settling.receipts import proven
from billing.tables.bills import UsageLineRow
from infra.database import Database
from infra.settings import Settings
from market.epochs import PublishedLine, verify_epoch
from market.receipts import Receipt, verify_receipt

LINES, QUICK_LINES, LEASES = 1_000_000, 20_000, 10_000
SECONDS_MAX, MEGABYTES_MAX, RECEIPT_MS_MAX = 60.0, 1000.0, 50.0
VERIFIED = 50

# Lines alone: what they refer to has no part in a close.
_ALONE = [
    f"ALTER TABLE usage_lines DROP CONSTRAINT fk_usage_lines_{column}" for column in ("window_id", "lease_id", "job_id")
]
_LINES = text(
    """
    INSERT INTO usage_lines (id, window_id, lease_id, window_number, job_id, attempt_number, organization_id,
      provider_id, unit, quantity_milli, price_microusd_per_unit_hour, fee_basis_points, from_ms, to_ms,
      charged_before_microusd, amount_microusd, provider_microusd, fee_microusd, rounding_microusd, capped, captured_at)
    SELECT 'line_' || lpad(n::text, 26, '0'), 'win_' || lpad(n::text, 26, '0'), 'lease_' || lpad(lease::text, 26, '0'),
      number, 'job_' || lpad(lease::text, 26, '0'), 1, 'org_' || lease % 1000, 'prv_' || lease % 300, 'gpu', 1000,
      3600000, 500, number * 900000, (number + 1) * 900000, number * 900000, 900000, 855000, 45000, 0, false, :at
    FROM generate_series(0, :count - 1) AS n, LATERAL (SELECT n % :leases AS lease, n / :leases AS number) AS of_lease
    """
)


def main() -> int:
    """Print a row per figure and one JSON line. Returns 1 where a bound is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=LINES)
    parser.add_argument("--quick", action="store_true", help="20,000 lines: to see that it works")
    options = parser.parse_args()
    count = QUICK_LINES if options.quick else options.lines
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    with durable_database() as database:
        with database.transaction() as session:
            session.execute(text("SET LOCAL statement_timeout = 0"))
            for statement in _ALONE:
                session.execute(text(statement))
            session.execute(_LINES, {"at": now, "count": count, "leases": min(LEASES, count)})
        before, began = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        with database.transaction() as session:
            number = epochs.close(session, now, Settings())
        seconds = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_SELF)
        assert number is not None
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found = {
            "seconds": round(seconds, 1),
            "client_cpu_s": round(cpu, 1),
            "megabytes": round(after.ru_maxrss / 1024),
        }
        with database.read() as session:
            found["proof_ms"], found["receipt_ms"] = (round(took, 2) for took in _receipt_ms(session))
        recomputed = _recomputes(database, number, count)
    ratio = max(seconds / SECONDS_MAX, found["megabytes"] / MEGABYTES_MAX, found["receipt_ms"] / RECEIPT_MS_MAX)
    print(f"{count:,} lines closed: {found}, load {os.getloadavg()[0]:.1f}")
    answer = {"name": "epoch_close", "ratio": round(ratio, 3), "target": 1.0, "lines": count, "recomputed": recomputed}
    print(json.dumps({**answer, **found}))
    return 0 if ratio <= 1 and recomputed else 1


def _receipt_ms(session: Session) -> tuple[float, float]:
    """What it took to prove the lines of a lease, and the median time to verify their receipt."""
    rows = session.query(UsageLineRow).filter_by(lease_id=f"lease_{7:026}").order_by(UsageLineRow.window_number).all()
    began = time.perf_counter()
    lines = proven(session, rows)
    proving = (time.perf_counter() - began) * 1000
    total = sum(row.amount_microusd for row in rows)
    body = Receipt(job_id=rows[0].job_id, lines=lines, total_microusd=total).model_dump_json()
    times = []
    for _ in range(VERIFIED):
        began = time.perf_counter()
        assert verify_receipt(Receipt.model_validate_json(body)).ok
        times.append((time.perf_counter() - began) * 1000)
    return proving, statistics.median(times)


def _recomputes(database: Database, number: int, count: int) -> bool:
    """Whether what is published leads to the root."""

    def lines() -> Iterator[PublishedLine]:
        for start in range(0, count, publication.LINES_MAX):
            with database.read() as session:
                yield from publication.lines(session, number, start).lines

    with database.read() as session:
        head = publication.epoch(session, number)
    return verify_epoch(head.epoch, lines()).ok


if __name__ == "__main__":
    raise SystemExit(main())
