"""Telemetry: what the processes of the control plane count, in Prometheus' words, and the listener it is read from.

Every metric is declared here, so that this file is the list of them; docs/metrics.md says what each is for. Labels
take few values: routes, tasks, states and reasons, never ids. Counting costs a microsecond, and nothing is computed
before somebody asks.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import structlog
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram, generate_latest, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector

if TYPE_CHECKING:
    # The chain counts, too, and has no use for a database.
    from sqlalchemy.orm import Session

log = structlog.get_logger(__name__)
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Where the children of a prefork worker count; the library looks for it when it is imported."""
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500)

REQUESTS = Histogram(
    "gridbay_http_request_duration_seconds",
    "Requests by route and status; a stream or long poll lasts as long as it is open.",
    ("method", "route", "status"),
    buckets=SECONDS,
)
BATCH_SIZE = Histogram("gridbay_batch_items", "Requests that shared one transaction.", ("batcher",), buckets=SIZES)
TASKS = Histogram(
    "gridbay_task_duration_seconds", "Celery tasks by name and outcome.", ("task", "outcome"), buckets=SECONDS
)
DELIVERIES = Counter("gridbay_deliveries", "Turns at a message, by what came of them.", ("subscriber", "outcome"))
RELAYED = Counter("gridbay_relay_deliveries_sent", "Deliveries that the relay put on the broker.")
RELAY_FAILURES = Counter("gridbay_relay_failures", "Sends that the broker refused; they are repeated.")
ROUND_SECONDS = Histogram("gridbay_round_duration_seconds", "Placing rounds.", buckets=SECONDS)
JOBS_LOOKED_AT = Counter("gridbay_round_jobs_looked_at", "Queued jobs that placing rounds judged.")
JOBS_PLACED = Counter("gridbay_round_jobs_placed", "Jobs that placing rounds gave a lease.")
ATTEMPTS_ENDED = Counter("gridbay_attempts_ended", "Attempts by final state and reason.", ("state", "reason"))
JOBS_ENDED = Counter("gridbay_jobs_ended", "Jobs by final state and reason.", ("state", "reason"))
READINGS = Counter("gridbay_usage_readings", "Readings merged: stored, repeated, or refused by cause.", ("outcome",))
MERGE_SIZE = Histogram("gridbay_usage_merge_reports", "Signed reports that one merge took.", buckets=SIZES)
WINDOWS_FUNDED = Counter("gridbay_windows_funded", "Windows of running leases that money was held for.")
WINDOWS_CAPTURED = Counter("gridbay_windows_captured", "Windows that were charged, one usage line each.")
INVARIANTS_BROKEN = Counter("gridbay_ledger_invariants_broken", "Broken invariants that audits of the ledger found.")

_PENDING = "telemetry"


def count(session: "Session", counter: Counter, amount: int = 1) -> None:
    """Count once this transaction has committed; what is rolled back is not counted."""
    session.info.setdefault(_PENDING, []).append((counter, amount))


def committed(session: "Session") -> None:
    """Called by the one commit point."""
    for counter, amount in session.info.pop(_PENDING, ()):
        counter.inc(amount)


@contextmanager
def timed_task(name: str) -> Iterator[None]:
    """One run of a Celery task; whatever it raises passes through."""
    began, outcome = time.perf_counter(), "failed"
    try:
        yield
        outcome = "succeeded"
    finally:
        TASKS.labels(name, outcome).observe(time.perf_counter() - began)


def exposition() -> bytes:
    """All that this process counts, its prefork children included, as a scrape gets it."""
    return generate_latest(_registry())


def serve(bind: str | None) -> None:
    """Answer scrapes at host:port from a thread of its own; nothing without an address.

    There is no credential: the address belongs on loopback, or on a network that only Prometheus reaches.
    """
    if bind:
        host, _, port = bind.rpartition(":")
        start_http_server(int(port), host.strip("[]") or "127.0.0.1", _registry())
        log.info("metrics_served", bind=bind)


def _registry() -> CollectorRegistry:
    if FOLDER_VARIABLE not in os.environ:
        return REGISTRY
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry
