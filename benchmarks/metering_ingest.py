"""How fast readings of verified reports become durable rows, against a bare keyed COPY of the same rows (issue 5).

Both write the same batches to one durable PostgreSQL, in turn, with a commit each; the baseline's rows are ready text
for COPY, and its table has the same columns and key. Ours begins with what the usage bus carries, parcels of reports
that the portal has verified (what that costs is told too, and is within metering_http); ownership, watermarks, chains,
prefixes and the streams' rows are in it. Afterwards everything is sent three times over, shuffled and cut anew, and the
sums must be exact.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Sequence
from random import Random

import psycopg
from sqlalchemy import text

from benchmarks.databases import durable_database
from benchmarks.meters import BEGAN, Meters, report_of
from billing.metering import usage
from billing.metering.parcels import SignedReport, pack
from billing.metering.rows import COLUMNS
from infra.database import Database
from market.agent_api import Report
from market.readings import Reading

NODES, LEASES, READINGS = 250, 2, 20
PAIRS, QUICK_PAIRS, BATCHES = 9, 2, 4
TARGET = 0.70

_SUMS = text(
    "SELECT (SELECT count(*) FROM readings), (SELECT sum(durable_run_ms) FROM reading_streams), "
    "(SELECT sum(durable_sequence) FROM reading_streams), (SELECT coalesce(sum(count), 0) FROM reading_refusals)"
)


def main() -> int:
    """Print a row per figure and one JSON line. Returns 1 where the target is missed or a sum is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--quick", action="store_true", help="two pairs: to see that it works")
    options = parser.parse_args()
    with durable_database() as database:
        found = measure(database, QUICK_PAIRS if options.quick else options.pairs)
    print(json.dumps(found))
    return 0 if found["exact"] and found["ratio"] >= TARGET else 1


def measure(database: Database, pairs: int) -> dict[str, object]:
    meters = Meters(NODES, LEASES)
    with database.transaction() as session:
        meters.make_known(session)
    bare = psycopg.connect(database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False))
    bare.execute("CREATE TABLE bare_readings (LIKE readings INCLUDING ALL)")
    bare.commit()
    rows = NODES * LEASES * READINGS
    sent: list[SignedReport] = []
    ours, packed, theirs = [], [], []
    print(f"{'pair':>4}{'COPY rows/s':>14}{'merge rows/s':>14}{'ratio':>8}{'packed too':>12}   load")
    for pair in range(pairs):
        for_pair = [list(meters.reports(READINGS)) for _ in range(BATCHES)]
        sent += [report for batch in for_pair for report in batch]
        legs = [lambda batches=for_pair: copy_rows(bare, batches), lambda batches=for_pair: _merge(database, batches)]
        # Whoever goes first finds the server's caches cold: take turns.
        found = [leg() for leg in (legs if pair % 2 else legs[::-1])]
        (copied,), (merged, packing) = found if pair % 2 else found[::-1]
        theirs.append(copied)
        ours.append(merged)
        packed.append(packing)
        done, whole = BATCHES * rows / merged, copied / (merged + packing)
        print(f"{pair:>4}{BATCHES * rows / copied:>14,.0f}{done:>14,.0f}{copied / merged:>8.2f}{whole:>12.2f}", end="")
        print(f"   {os.getloadavg()[0]:.1f}", flush=True)
    bare.close()
    exact = _replay(database, sent, meters)
    ratios = [copied / merged for copied, merged in zip(theirs, ours, strict=True)]
    with_packing = [copied / (merged + packing) for copied, merged, packing in zip(theirs, ours, packed, strict=True)]
    return {
        "name": "metering_ingest",
        "ratio": round(statistics.median(ratios), 3),
        "target": TARGET,
        "ratio_with_packing": round(statistics.median(with_packing), 3),
        "merged_per_second": round(BATCHES * rows / statistics.median(ours)),
        "copied_per_second": round(BATCHES * rows / statistics.median(theirs)),
        "packing_us_per_reading": round(statistics.median(packed) / BATCHES / rows * 1e6, 2),
        "exact": exact,
    }


def copy_rows(bare: psycopg.Connection, batches: Sequence[Sequence[SignedReport]]) -> tuple[float]:
    """Seconds that the COPYs take."""
    texts = ["".join(map(_line, _readings(batch))).encode() for batch in batches]
    names = ", ".join(COLUMNS)
    began = time.perf_counter()
    for rows in texts:
        with bare.cursor() as cursor, cursor.copy(f"COPY bare_readings ({names}) FROM STDIN".encode()) as copy:
            copy.write(rows)
        bare.commit()
    return (time.perf_counter() - began,)


def _merge(database: Database, batches: Sequence[Sequence[SignedReport]]) -> tuple[float, float]:
    """Seconds that merging takes, and that reading, hashing and packing the reports takes before."""
    merging = packing = 0.0
    for batch in batches:
        began = time.perf_counter()
        parcels = [_packed(report) for report in batch]
        packing += time.perf_counter() - began
        began = time.perf_counter()
        with database.transaction() as session:
            usage.merge(session, parcels, BEGAN)
        merging += time.perf_counter() - began
    return merging, packing


def _packed(report: SignedReport) -> SignedReport:
    content = Report.model_validate_json(report.body)
    return SignedReport(report.node_id, report.received_at, pack(content, report.received_at))


def _replay(database: Database, sent: Sequence[SignedReport], meters: Meters) -> bool:
    """Everything three times more, shuffled reading by reading: whether every sum is what was sent once."""
    random = Random(5)
    by_node: dict[str, list[Reading]] = {}
    for report in sent:
        by_node.setdefault(report.node_id, []).extend(_readings([report]) * 3)
    again = []
    for node_id, readings in by_node.items():
        random.shuffle(readings)
        again += [report_of(node_id, readings[start : start + 1000]) for start in range(0, len(readings), 1000)]
    random.shuffle(again)
    for start in range(0, len(again), 50):
        with database.transaction() as session:
            usage.merge(session, again[start : start + 50], BEGAN)
    count = sum(meter.readings for meter in meters.all)
    with database.read() as session:
        found = tuple(int(value) for value in session.execute(_SUMS).one())
    print(f"after {3 * count:,} readings again, shuffled: rows, ms, numbers, refusals = {found}")
    return found == (count, 1000 * count, count, 0)


def _readings(batch: Sequence[SignedReport]) -> list[Reading]:
    reports = [Report.model_validate_json(report.body) for report in batch]
    return [reading for report in reports for run in report.runs for reading in run.readings()]


def _line(reading: Reading) -> str:
    values = [getattr(reading, name) for name in COLUMNS[:-1]]
    return "\t".join(str(value) for value in [*values, BEGAN.isoformat()]) + "\n"


if __name__ == "__main__":
    raise SystemExit(main())
