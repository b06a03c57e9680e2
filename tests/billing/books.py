"""Drives billing as the rest of the market would, on a session of the test's own."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count

from solders.keypair import Keypair
from sqlalchemy import text
from sqlalchemy.orm import Session

from billing.charging import capture, funding, renewals
from billing.charging.funding import FundedWindow, JobTerms
from billing.ledger import audit, balances
from billing.metering import leases, usage
from billing.metering.parcels import SignedReport
from billing.metering.usage import MergeResult
from billing.settling import batches, newcomers
from billing.treasury import deposits
from billing.treasury.arrivals import Arrival
from billing.treasury.custody import Custody
from infra.outbox.tables import OutboxMessage
from infra.settings import Settings
from market.agent_api import Report
from market.clock import ManualClock
from market.components import Components
from market.ids import new_id
from market.messages import AttemptEnded, AttemptPlaced
from market.reading_runs import runs_of
from market.readings import GENESIS, Reading
from market.resources import Unit
from market.states import Reason

ORGANIZATION, PROVIDER, NODE = "org_A", "prv_A", "node_A"
CUSTODY = Custody(Keypair(), str(Keypair().pubkey()))
HOUR = 3600
_signatures = count(1)


@dataclass
class Stream:
    """The readings a node takes of one lease."""

    lease_id: str
    stream_id: str = field(default_factory=lambda: new_id("req"))
    readings: list[Reading] = field(default_factory=list)

    def read(self, run_ms: int, *, final: bool = False) -> Reading:
        """The next reading of the chain."""
        reading = Reading(
            lease_id=self.lease_id,
            stream_id=self.stream_id,
            sequence=len(self.readings) + 1,
            run_ms=run_ms,
            taken_at_ms=run_ms,
            final=final,
            previous_hash=self.readings[-1].hash if self.readings else GENESIS,
        )
        self.readings.append(reading)
        return reading


class Books:
    """One organization, one provider, one node; time is `now` and moves with `wait`."""

    def __init__(self, session: Session, clock: ManualClock) -> None:
        self.session, self.clock = session, clock
        self.config = Settings(window_seconds=900, final_reading_wait_seconds=60, fee_basis_points=500)

    @staticmethod
    def manual_clock() -> ManualClock:
        return ManualClock(datetime(2036, 11, 21, 12, 0, tzinfo=UTC))

    @property
    def now(self) -> datetime:
        return self.clock.now()

    def wait(self, seconds: float) -> datetime:
        return self.clock.advance(timedelta(seconds=seconds))

    def deposit(self, amount_microusd: int, organization_id: str = ORGANIZATION) -> None:
        """Money that arrived on some chain."""
        asked = deposits.request(self.session, organization_id, amount_microusd, self.now, CUSTODY)
        arrival = Arrival(f"signature-{next(_signatures)}", 0, amount_microusd)
        deposits.credit(self.session, asked.deposit_id, [arrival], self.now)

    def terms(self, **changed: object) -> JobTerms:
        """A job for one GPU at 3.60 USDC an hour at most: 1,000 micro-USDC a second."""
        values: dict[str, object] = {
            "job_id": new_id("job"),
            "organization_id": ORGANIZATION,
            "unit": Unit.GPU,
            "quantity_milli": 1000,
            "price_limit_microusd_per_unit_hour": 3_600_000,
            "max_total_microusd": None,
            "max_duration_seconds": 24 * HOUR,
        }
        return JobTerms(**(values | changed))  # type: ignore[arg-type]

    def open(self, terms: JobTerms) -> FundedWindow:
        return funding.open_job(self.session, terms, self.now, self.config)

    def place(
        self,
        terms: JobTerms,
        *,
        number: int = 1,
        price: int | None = None,
        seconds: int = 900,
        lease_id: str | None = None,
        provider_id: str = PROVIDER,
        discount: int = 0,
        components: Components | None = None,
    ) -> AttemptPlaced:
        """What the scheduler says when an attempt got a lease; billing has heard it."""
        placed = AttemptPlaced(
            job_id=terms.job_id,
            organization_id=terms.organization_id,
            attempt_id=new_id("att"),
            attempt_number=number,
            lease_id=lease_id or new_id("lease"),
            node_id=NODE,
            provider_id=provider_id,
            unit=terms.unit,
            quantity_milli=terms.quantity_milli,
            price_microusd_per_unit_hour=terms.price_limit_microusd_per_unit_hour if price is None else price,
            discount_basis_points=discount,
            components=components,
            simulated=False,
            granted_at=self.now,
            held_until=self.now + timedelta(seconds=seconds),
        )
        leases.bind(self.session, placed, self.now, self.config)
        return placed

    def run(self, *, seconds: int = 900, **changed: object) -> tuple[JobTerms, AttemptPlaced, Stream]:
        """A job that is funded and placed, with its readings still to come."""
        terms = self.terms(**changed)
        self.open(terms)
        placed = self.place(terms, seconds=seconds)
        return terms, placed, Stream(placed.lease_id)

    def report(self, *readings: Reading, node_id: str = NODE) -> MergeResult:
        return usage.merge(self.session, [self.signed(*readings, node_id=node_id)], self.now)

    def signed(self, *readings: Reading, node_id: str = NODE) -> SignedReport:
        body = Report(node_id=node_id, sent_at_ms=0, runs=list(runs_of(readings))).model_dump_json().encode()
        return SignedReport(node_id, self.now, body)

    def end(self, placed: AttemptPlaced, ended_at: datetime | None = None, reason: Reason = Reason.SUCCEEDED) -> None:
        ended = AttemptEnded(
            job_id=placed.job_id,
            attempt_id=placed.attempt_id,
            lease_id=placed.lease_id,
            ended_at=ended_at or self.now,
            reason=reason,
        )
        leases.end(self.session, ended, self.now, self.config)

    def capture(self) -> int:
        return capture.capture_due(self.session, self.now, self.config)

    def fund(self) -> int:
        return renewals.fund_windows(self.session, self.now, self.config)

    def money(self, organization_id: str = ORGANIZATION) -> tuple[int, int]:
        """Available and held."""
        found = balances.of_organization(self.session, organization_id)
        return found.available_microusd, found.held_microusd

    def told(self, kind: str) -> list[dict[str, object]]:
        """The messages of a kind, oldest first."""
        rows = self.session.query(OutboxMessage).filter_by(kind=kind).order_by(OutboxMessage.id)
        return [row.body for row in rows]

    def prepare(self) -> None:
        """Batches for what is to be paid, as if the chain had said that everybody has a token account."""
        asked = newcomers.unchecked(self.session)
        newcomers.checked(self.session, asked, (), CUSTODY.address, self.now, self.config)
        batches.prepare(self.session, CUSTODY.address, CUSTODY.mint, self.now)

    def check(self) -> None:
        """Every invariant holds, those too that the database checks at the commit."""
        self.session.flush()
        self.session.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
        self.session.execute(text("SET CONSTRAINTS ALL DEFERRED"))
        assert audit.check(self.session) == []
