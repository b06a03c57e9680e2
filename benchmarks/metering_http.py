"""How fast readings go the whole way, HTTP to durable rows, against a bare keyed COPY of the same rows (issue 5).

A whole market with its own processes; agents of eight leases each send signed reports of a hundred readings a lease (as
after an outage; --readings 20: as from minute to minute) over kept connections, and the clock stops when the last
reading is in the prefix of its stream. The baseline copies the same rows, ready as text, into a table with the same
columns and key of the same PostgreSQL, in turn. What each stage costs a reading is told as CPU time of the processes,
and within the portal by doing its steps alone.
"""

import argparse
import asyncio
import json
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from benchmarks.cpu import cpu_ms
from benchmarks.double import Double
from benchmarks.markets import BenchMarket, running, until
from benchmarks.metering_ingest import copy_rows
from benchmarks.meters import BEGAN, Meters
from billing.metering.parcels import SignedReport, pack
from infra.database import Database
from infra.embedded.postgres import Postgres
from market.signing import REPORT_TAG, verify
from portal_api.agent_reports import parse_report

NODES, LEASES, READINGS, REPORTS = 50, 8, 100, 2
PAIRS, QUICK_PAIRS = 5, 2
TARGET = 0.35
_DURABLE = "SELECT coalesce(sum(durable_sequence), 0) FROM reading_streams"
_REFUSED = "SELECT coalesce(sum(count), 0) FROM reading_refusals"
Batches = Sequence[Sequence[SignedReport]]


@dataclass(frozen=True, slots=True)
class Sent:
    """One leg through the market. seconds: from the first request to the last durable reading."""

    seconds: float
    cpu: Counter[str]


def main() -> int:
    """Print a row per pair and one JSON line. Returns 1 where the target is missed or a reading is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--readings", type=int, default=READINGS, help="of each lease in a report")
    parser.add_argument("--quick", action="store_true", help="two pairs: to see that it works")
    options = parser.parse_args()
    with running(with_agent=False) as bench:
        found = asyncio.run(_measure(bench, QUICK_PAIRS if options.quick else options.pairs, options.readings))
    print(json.dumps(found))
    return 0 if found["exact"] and found["ratio"] >= TARGET else 1


async def _measure(bench: BenchMarket, pairs: int, readings: int) -> dict[str, Any]:
    rows_a_leg = NODES * LEASES * readings * REPORTS
    doubles, meters = await _join(bench), Meters(NODES, LEASES)
    for at, meter in enumerate(meters.all):
        meter.node_id = doubles[at // LEASES].node_id
    port = json.loads((bench.state_dir / "market.json").read_text())["ports"]["postgres"]
    database = Database(Postgres(bench.state_dir / "postgres", port).url())
    with database.transaction() as session:
        meters.make_known(session)
    bare = psycopg.connect(database.engine.url.set(drivername="postgresql").render_as_string(hide_password=False))
    bare.execute("CREATE TABLE bare_readings (LIKE readings INCLUDING ALL)")
    bare.commit()
    copied: list[float] = []
    sent: list[Sent] = []
    for pair in range(pairs):
        batches = [list(meters.reports(readings)) for _ in range(REPORTS)]
        if pair % 2:
            copied.append(copy_rows(bare, batches)[0])
        sent.append(await _send(bench, database, doubles, batches, (pair + 1) * rows_a_leg))
        if not pair % 2:
            copied.append(copy_rows(bare, batches)[0])
        print(
            f"{pair:>3}  COPY {rows_a_leg / copied[-1]:>9,.0f}/s  market {rows_a_leg / sent[-1].seconds:>8,.0f}/s",
            end="  ",
        )
        print(f"ratio {copied[-1] / sent[-1].seconds:.3f}  load {os.getloadavg()[0]:.1f}", flush=True)
    refused = int(bare.execute(_REFUSED).fetchall()[0][0])
    rows = int(bare.execute("SELECT count(*) FROM readings").fetchall()[0][0])
    bare.close()
    database.dispose()
    spent = sum((item.cpu for item in sent), Counter())
    return {
        "name": "metering_http",
        "ratio": round(statistics.median(copy / item.seconds for copy, item in zip(copied, sent, strict=True)), 3),
        "target": TARGET,
        "readings_per_second": round(rows_a_leg / statistics.median(item.seconds for item in sent)),
        "cpu_us_per_reading": {
            part: round(ms * 1000 / rows_a_leg / pairs, 1) for part, ms in spent.most_common() if ms
        },
        "portal_us_per_reading": _steps(doubles, meters, readings),
        "exact": (rows, refused) == (pairs * rows_a_leg, 0),
    }


async def _join(bench: BenchMarket) -> list[Double]:
    host, _, port = bench.address.partition(":")
    return [await Double.join(host, int(port), bench.join_token, number) for number in range(NODES)]


async def _send(bench: BenchMarket, database: Database, doubles: list[Double], batches: Batches, total: int) -> Sent:
    """Every double sends its reports in order, each once the one before it was answered."""
    signed = [[(report.body, double.sign(report.body)) for report in own] for double, own in _own(doubles, batches)]
    before, began = cpu_ms(bench.pid), time.perf_counter()
    await asyncio.gather(*(double.send(reports) for double, reports in zip(doubles, signed, strict=True)))
    await asyncio.to_thread(until, lambda: _durable(database) >= total or None)
    return Sent(time.perf_counter() - began, cpu_ms(bench.pid) - before)


def _own(doubles: list[Double], batches: Batches) -> list[tuple[Double, list[SignedReport]]]:
    """Each double's reports: every batch has one of each, in their order."""
    return [(double, [batch[at] for batch in batches]) for at, double in enumerate(doubles)]


def _durable(database: Database) -> int:
    with database.read() as session:
        return int(session.connection().exec_driver_sql(_DURABLE).scalar_one())


def _steps(doubles: list[Double], meters: Meters, readings: int) -> dict[str, float]:
    """Microseconds a reading of what the portal does with a report, each step alone."""
    reports = list(meters.reports(readings))
    signed = [(double, report.body, double.sign(report.body)) for double, report in zip(doubles, reports, strict=True)]
    parsed = [parse_report(body, double.node_id, double.public_hex, mark) for double, body, mark in signed]

    def timed(step: Callable[[], object]) -> float:
        began = time.perf_counter()
        step()
        return (time.perf_counter() - began) * 1e6 / (NODES * LEASES * readings)

    checked = timed(lambda: [verify(double.public_hex, REPORT_TAG, body, mark) for double, body, mark in signed])
    read = timed(lambda: [parse_report(body, double.node_id, double.public_hex, mark) for double, body, mark in signed])
    packed = timed(lambda: [pack(report, BEGAN) for report in parsed])
    return {"signature": round(checked, 2), "JSON": round(read - checked, 2), "hashes and rows": round(packed, 2)}


if __name__ == "__main__":
    raise SystemExit(main())
