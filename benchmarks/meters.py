"""What the metering benchmarks feed: leases on nodes, and the signed reports of their readings, made beforehand."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from billing.metering.parcels import SignedReport
from market.agent_api import Report
from market.reading_runs import runs_of
from market.readings import GENESIS, Reading

BEGAN = datetime(2026, 11, 21, 12, tzinfo=UTC)

_TERMS = text(
    "INSERT INTO job_terms (job_id, organization_id, unit, quantity_milli, price_limit_microusd_per_unit_hour, "
    "max_duration_seconds, remaining_seconds, created_at) "
    "SELECT id, 'org_A', 'gpu', 1000, 3600000, 86400, 86400, :at FROM unnest(cast(:jobs AS text[])) AS id"
)
_LEASES = text(
    "INSERT INTO metered_leases (lease_id, job_id, organization_id, attempt_id, attempt_number, node_id, provider_id, "
    "unit, quantity_milli, price_microusd_per_unit_hour, fee_basis_points, simulated, granted_at, funded_until, "
    "window_count) SELECT lease_id, job_id, 'org_A', 'att_A', 1, node_id, 'prv_A', 'gpu', 1000, 3600000, 500, false, "
    ":at, :at, 1 FROM unnest(cast(:leases AS text[]), cast(:jobs AS text[]), cast(:nodes AS text[])) "
    "AS given(lease_id, job_id, node_id)"
)


@dataclass
class Meter:
    """One lease and the stream of its readings."""

    node_id: str
    job_id: str
    lease_id: str
    stream_id: str
    last: str = GENESIS
    readings: int = 0

    def read(self, count: int) -> list[Reading]:
        """The next readings of the chain, one a second."""
        made = []
        for _ in range(count):
            self.readings += 1
            reading = Reading(
                lease_id=self.lease_id,
                stream_id=self.stream_id,
                sequence=self.readings,
                run_ms=self.readings * 1000,
                cpu_ms=self.readings * 900,
                gpu_busy_ms=self.readings * 990,
                memory_peak_bytes=12 * 1024**3,
                taken_at_ms=int(BEGAN.timestamp() * 1000) + self.readings * 1000,
                previous_hash=self.last,
            )
            self.last = reading.hash
            made.append(reading)
        return made


@dataclass
class Meters:
    """`nodes` nodes with `leases` leases each."""

    nodes: int
    leases: int
    all: list[Meter] = field(init=False)

    def __post_init__(self) -> None:
        numbers = [(node, lease) for node in range(self.nodes) for lease in range(self.leases)]
        self.all = [
            Meter(
                f"node_{node:026}",
                f"job_{node:013}{lease:013}",
                f"lease_{node:013}{lease:013}",
                f"s{node:013}{lease:013}",
            )
            for node, lease in numbers
        ]

    def make_known(self, session: Session) -> None:
        """Leases as billing has them after it heard of their placement."""
        jobs = [meter.job_id for meter in self.all]
        session.execute(_TERMS, {"jobs": jobs, "at": BEGAN})
        leases, nodes = [meter.lease_id for meter in self.all], [meter.node_id for meter in self.all]
        session.execute(_LEASES, {"leases": leases, "jobs": jobs, "nodes": nodes, "at": BEGAN})

    def reports(self, readings: int) -> Iterator[SignedReport]:
        """One report a node, with that many new readings of each of its leases."""
        for start in range(0, len(self.all), self.leases):
            of_node = self.all[start : start + self.leases]
            taken = [reading for meter in of_node for reading in meter.read(readings)]
            yield report_of(of_node[0].node_id, taken)


def report_of(node_id: str, readings: Sequence[Reading]) -> SignedReport:
    """As an agent says it."""
    body = Report(node_id=node_id, sent_at_ms=0, runs=list(runs_of(readings))).model_dump_json().encode()
    return SignedReport(node_id, BEGAN, body)
