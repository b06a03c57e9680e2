"""The market's own metrics, from its rows at the moment of a scrape: what no single process could count.

Gauges of what is live come by small indexed statements; the reports are those of the last day, in the words and
integers of monitoring.measures, so that they agree with the command line and GraphQL. Times are divided into seconds
and millionths into ratios, as Prometheus has them; money stays in whole micro-USDC, which a float64 holds exactly.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import text
from sqlalchemy.orm import Session

from monitoring import facts
from monitoring.measures import PPM, Dimension, Question, Report, Row, ppm

REPORTED = timedelta(days=1)
MODELS_MAX = 50
"""Models are named by providers: a label takes the largest so many."""

MILLI = 1000

Gauges = list[tuple[Mapping[str, str], float]]

_STATES: Mapping[str, tuple[str, str, str]] = {
    "gridbay_nodes": (
        "Nodes by state.",
        "state",
        "SELECT state AS label, count(*) AS value FROM nodes GROUP BY 1",
    ),
    "gridbay_attempts_live": (
        "Attempts that have not ended, by state.",
        "state",
        "SELECT state AS label, count(*) AS value FROM attempts WHERE state IN ('placed', 'running') GROUP BY 1",
    ),
    "gridbay_payouts_open_microusd": (
        "Payouts on their way: waiting for a batch, or sent and not yet final.",
        "state",
        "SELECT CASE WHEN batch_id IS NULL THEN 'waiting' ELSE 'sent' END AS label, sum(amount_microusd) AS value "
        "FROM payouts WHERE state = 'open' GROUP BY 1",
    ),
    "gridbay_accounts_microusd": (
        "Balances by kind of account; all of them together are 0.",
        "kind",
        "SELECT kind AS label, sum(balance_microusd) AS value FROM accounts GROUP BY 1",
    ),
}

_SINGLE: Mapping[str, tuple[str, str]] = {
    "gridbay_leases_held": (
        "Leases that hold resources.",
        "SELECT count(*) FROM leases WHERE released_at IS NULL",
    ),
    "gridbay_queue_depth": (
        "Funded jobs that wait for a lease.",
        "SELECT count(*) FROM jobs WHERE state = 'queued' AND funded_seconds IS NOT NULL",
    ),
    "gridbay_queue_oldest_seconds": (
        "How long the first of them has waited.",
        "SELECT coalesce(extract(epoch FROM cast(:now AS timestamptz) - min(created_at)), 0) FROM jobs "
        "WHERE state = 'queued' AND funded_seconds IS NOT NULL",
    ),
    "gridbay_outbox_due": (
        "Deliveries whose time has come.",
        "SELECT count(*) FROM outbox_deliveries WHERE done_at IS NULL AND parked_at IS NULL AND due_at <= :now",
    ),
    "gridbay_outbox_lag_seconds": (
        "How long the oldest delivery that is not done has been waiting.",
        "SELECT coalesce(extract(epoch FROM cast(:now AS timestamptz) - min(due_at)), 0) FROM outbox_deliveries "
        "WHERE done_at IS NULL AND parked_at IS NULL AND due_at <= :now",
    ),
    "gridbay_outbox_parked": (
        "Deliveries that were given up until a person replays them.",
        "SELECT count(*) FROM outbox_deliveries WHERE parked_at IS NOT NULL AND done_at IS NULL",
    ),
    "gridbay_ledger_imbalance_microusd": (
        "What all accounts add up to; anything but 0 is a fault.",
        "SELECT coalesce(sum(balance_microusd), 0) FROM accounts",
    ),
    "gridbay_usage_lines_open": (
        "Usage lines that no epoch has closed over yet.",
        "SELECT count(*) FROM usage_lines WHERE epoch IS NULL",
    ),
}


@dataclass(frozen=True, slots=True)
class Gauge:
    """One metric of a moment: what it is, and its value by its labels."""

    name: str
    help: str
    samples: Gauges


def state(session: Session, now: datetime) -> list[Gauge]:
    """What is live and what is stuck, at this moment."""
    gauges = [
        Gauge(name, about, [({label: str(row.label)}, float(row.value)) for row in session.execute(text(statement))])
        for name, (about, label, statement) in _STATES.items()
    ]
    for name, (about, statement) in _SINGLE.items():
        values = {"now": now} if ":now" in statement else {}
        gauges.append(Gauge(name, about, [({}, float(session.execute(text(statement), values).scalar_one()))]))
    return gauges


def reports(session: Session, now: datetime) -> list[Gauge]:
    """The reports of the last day; money and time as the integers that they are."""
    by_model = (Dimension.MODEL,)

    def ask(report: Report, by: tuple[Dimension, ...]) -> dict[str, list[Row]]:
        return facts.load(session, Question(report, now - REPORTED, now, by))

    lines = _largest(ask(Report.GMV, by_model)["lines"], "gmv_microusd")
    waits = _largest(ask(Report.QUEUE_WAIT, by_model)["waits"], "jobs")
    outcomes = ask(Report.OUTCOMES, ())["outcomes"]
    return [
        *_money(lines),
        *_utilization(ask(Report.UTILIZATION, by_model)),
        Gauge("gridbay_day_placed_jobs", "Jobs placed for the first time.", _by_model(waits, "jobs")),
        Gauge(
            "gridbay_day_queue_wait_seconds",
            "From submission to first placement, by percentile.",
            [
                ({"model": row["model"], "quantile": quantile}, row[name] / MILLI)
                for row in waits
                for quantile, name in (("0.5", "wait_p50_ms"), ("0.9", "wait_p90_ms"), ("0.99", "wait_p99_ms"))
            ],
        ),
        Gauge(
            "gridbay_day_job_outcomes",
            "Jobs that ended, by final reason.",
            [({"reason": row["reason"]}, float(row["jobs"])) for row in outcomes],
        ),
    ]


def exposition(gauges: Iterable[Gauge]) -> bytes:
    """In Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Gauges(gauges))
    return generate_latest(registry)


class _Gauges(Collector):
    def __init__(self, gauges: Iterable[Gauge]) -> None:
        self._gauges = list(gauges)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        for gauge in self._gauges:
            names = list(gauge.samples[0][0]) if gauge.samples else []
            family = GaugeMetricFamily(gauge.name, gauge.help, labels=names)
            for labels, value in gauge.samples:
                family.add_metric([labels[name] for name in names], value)
            yield family


def _money(lines: list[Row]) -> list[Gauge]:
    rates = [({"model": row["model"]}, ppm(row["fee_microusd"], row["gmv_microusd"])) for row in lines]
    return [
        Gauge("gridbay_day_gmv_microusd", "Gross amount of usage lines.", _by_model(lines, "gmv_microusd")),
        Gauge("gridbay_day_fee_microusd", "The market's fee in that.", _by_model(lines, "fee_microusd")),
        Gauge("gridbay_day_usage_lines", "Usage lines captured.", _by_model(lines, "usage_lines")),
        Gauge("gridbay_day_take_rate_ratio", "Fee of gross.", _known(rates)),
    ]


def _utilization(found: Mapping[str, list[Row]]) -> list[Gauge]:
    times = {
        name: {(row["model"], row["unit"]): int(row["unit_ms"]) for row in found[name]}
        for name in ("leased", "offered")
    }
    offered = sorted(times["offered"] | times["leased"], key=lambda key: (-times["offered"].get(key, 0), key))
    keys = offered[:MODELS_MAX]
    labels = [{"model": model, "unit": unit} for model, unit in keys]
    gauges = [
        Gauge(
            f"gridbay_day_{name}_unit_seconds",
            f"Time of one GPU or CPU that was {name}.",
            [(label, times[name].get(key, 0) / MILLI) for label, key in zip(labels, keys, strict=True)],
        )
        for name in ("leased", "offered")
    ]
    ratios = [
        (label, ppm(times["leased"].get(key, 0), times["offered"].get(key, 0)))
        for label, key in zip(labels, keys, strict=True)
    ]
    return [*gauges, Gauge("gridbay_day_utilization_ratio", "Leased of offered time.", _known(ratios))]


def _by_model(rows: list[Row], name: str) -> Gauges:
    return [({"model": row["model"]}, float(row[name])) for row in rows]


def _known(samples: list[tuple[dict[str, str], int | None]]) -> Gauges:
    return [(labels, value / PPM) for labels, value in samples if value is not None]


def _largest(rows: list[Row], name: str) -> list[Row]:
    return sorted(rows, key=lambda row: (-row[name], row["model"]))[:MODELS_MAX]
