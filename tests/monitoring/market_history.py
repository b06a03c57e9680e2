"""A market's past, written as rows: exact times and amounts, with no process in between."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from sqlalchemy.orm import Session

from billing.tables.bills import UsageLineRow
from billing.tables.funding import HoldRow, JobTermsRow, WindowRow
from billing.tables.metering import MeteredLeaseRow
from market.resources import Unit
from market.states import AttemptState, JobState, Reason
from scheduler.tables import Attempt, Gpu, Job, Lease, LeaseGpu, Node, NodeState, Pool, Provider, SupplyInterval
from scheduler.tables.leases import WHOLE_GPU

NOON = datetime(2036, 11, 21, 12, 0, tzinfo=UTC)
FINAL = {JobState.SUCCEEDED: AttemptState.SUCCEEDED, JobState.FAILED: AttemptState.FAILED}


@dataclass
class History:
    """Times are in seconds from `begin`."""

    session: Session
    begin: datetime = NOON
    _numbers: Any = field(default_factory=lambda: count(1))

    def at(self, seconds: float) -> datetime:
        return self.begin + timedelta(seconds=seconds)

    def node(self, provider_id: str, model: str = "CPU", gpus: int = 0, *, simulated: bool = False) -> str:
        if self.session.get(Provider, provider_id) is None:
            self.session.add(Provider(id=provider_id, name=provider_id, created_at=NOON))
            self.session.flush()
        node_id = f"node_{next(self._numbers)}"
        sizes = {f"{kind}_{unit}": 10**12 for kind, unit in self._sizes()}
        self.session.add(
            Node(
                id=node_id,
                provider_id=provider_id,
                public_key=node_id,
                name=node_id,
                hostname="h",
                state=NodeState.ONLINE,
                pool=Pool.READY,
                simulated=simulated,
                sandbox="bubblewrap",
                agent_version="1",
                cpu_total_milli=8000,
                cpu_free_milli=8000,
                joined_at=NOON,
                last_seen_at=NOON,
                **sizes,
            )
        )
        self.session.flush()
        for index in range(gpus):
            self.session.add(
                Gpu(node_id=node_id, uuid=f"GPU-{node_id}-{index}", index=index, model=model, memory_bytes=8 * 10**10)
            )
        self.session.flush()
        return node_id

    def supply(self, node_id: str, model: str, milli: int, since: float, until: float | None) -> None:
        node = self.session.get_one(Node, node_id)
        unit = Unit.CPU if model == "CPU" else Unit.GPU
        self.session.add(
            SupplyInterval(
                node_id=node_id,
                unit=unit,
                model=model,
                from_at=self.at(since),
                provider_id=node.provider_id,
                simulated=node.simulated,
                quantity_milli=milli,
                until_at=None if until is None else self.at(until),
            )
        )
        self.session.flush()

    def job(
        self,
        organization_id: str,
        *,
        submitted: float = 0,
        node_id: str | None = None,
        placed: float | None = None,
        ended: float | None = None,
        reason: Reason = Reason.SUCCEEDED,
        milli: int = 1000,
        amount: int | None = None,
        fee: int = 0,
        rounding: int = 0,
        captured: float | None = None,
    ) -> str:
        """A job, its attempt and lease if it was placed, and its one usage line if it cost something."""
        job_id = f"job_{next(self._numbers)}"
        node = self.session.get_one(Node, node_id) if node_id else None
        state = JobState(reason.value.partition(":")[0]) if ended is not None else JobState.QUEUED
        self.session.add(self._job_row(job_id, organization_id, state, reason, submitted, placed, ended, node))
        self.session.flush()
        if node is not None and placed is not None:
            self._lease(job_id, node, placed, ended, milli, reason)
        if amount is not None and node is not None:
            self._line(job_id, organization_id, node, amount, fee, rounding, captured if captured is not None else 0)
        return job_id

    def _job_row(self, job_id: str, organization_id: str, *rest: Any) -> Job:
        state, reason, submitted, placed, ended, node = rest
        return Job(
            id=job_id,
            organization_id=organization_id,
            name="",
            spec={},
            unit=Unit.CPU,
            quantity_milli=1000,
            price_limit_microusd_per_unit_hour=1,
            simulated=bool(node and node.simulated),
            cpu_milli=1000,
            memory_bytes=1,
            disk_bytes=1,
            gpu_count=0,
            max_duration_seconds=3600,
            state=state,
            reason=reason,
            attempts_placed=0 if placed is None else 1,
            created_at=self.at(submitted),
            ended_at=None if ended is None else self.at(ended),
        )

    def retry(self, job_id: str, node_id: str, placed: float, number: int = 2) -> None:
        """A further attempt at a job that was placed before."""
        self._lease(job_id, self.session.get_one(Node, node_id), placed, None, 1000, Reason.RUNNING, number)

    def _lease(
        self,
        job_id: str,
        node: Node,
        placed: float,
        ended: float | None,
        milli: int,
        reason: Reason,
        number: int = 1,
    ) -> None:
        name = job_id if number == 1 else f"{job_id}_{number}"
        over = None if ended is None else self.at(ended)
        gpus = self.session.query(Gpu).filter_by(node_id=node.id).order_by(Gpu.id).limit(milli // 1000).all()
        self.session.add(
            Attempt(
                id=f"att_{name}",
                job_id=job_id,
                number=number,
                node_id=node.id,
                provider_id=node.provider_id,
                price_microusd_per_unit_hour=1,
                state=AttemptState.SUCCEEDED if over else AttemptState.RUNNING,
                reason=reason,
                placed_at=self.at(placed),
                ended_at=over,
            )
        )
        self.session.flush()
        self.session.add(
            Lease(
                id=f"lease_{name}",
                attempt_id=f"att_{name}",
                job_id=job_id,
                node_id=node.id,
                cpu_milli=1000,
                memory_bytes=1,
                disk_bytes=1,
                unit=Unit.GPU if gpus else Unit.CPU,
                quantity_milli=milli,
                price_microusd_per_unit_hour=1,
                simulated=node.simulated,
                granted_at=self.at(placed),
                held_until=self.at(placed + 3600),
                released_at=over,
            )
        )
        self.session.flush()
        for gpu in gpus:
            self.session.add(LeaseGpu(lease_id=f"lease_{name}", gpu_id=gpu.id, slice=WHOLE_GPU, released_at=over))
        self.session.flush()

    def _line(
        self, job_id: str, organization_id: str, node: Node, amount: int, fee: int, rounding: int, captured: float
    ) -> None:
        at, lease_id = self.at(captured), f"lease_{job_id}"
        common = {"job_id": job_id, "organization_id": organization_id}
        terms = {"unit": "gpu", "quantity_milli": 1000}
        whose = {"provider_id": node.provider_id, "price_microusd_per_unit_hour": 1, "fee_basis_points": 500}
        rows = (
            JobTermsRow(
                **common,
                **terms,
                price_limit_microusd_per_unit_hour=1,
                max_duration_seconds=1,
                remaining_seconds=1,
                created_at=at,
            ),
            HoldRow(
                id=f"hold_{job_id}",
                **common,
                attempt_number=1,
                window_number=0,
                seconds=1,
                amount_microusd=amount,
                captured_microusd=amount,
                created_at=at,
                settled_at=at,
            ),
            MeteredLeaseRow(
                lease_id=lease_id,
                **common,
                **terms,
                **whose,
                attempt_id=f"att_{job_id}",
                attempt_number=1,
                node_id=node.id,
                simulated=node.simulated,
                granted_at=at,
                funded_until=at,
                window_count=1,
            ),
            WindowRow(
                id=f"win_{job_id}",
                lease_id=lease_id,
                number=0,
                hold_id=f"hold_{job_id}",
                from_at=at,
                until_at=at + timedelta(seconds=1),
                settled_at=at,
            ),
            UsageLineRow(
                id=f"line_{job_id}",
                window_id=f"win_{job_id}",
                lease_id=lease_id,
                window_number=0,
                **common,
                **terms,
                **whose,
                attempt_number=1,
                from_ms=0,
                to_ms=1000,
                charged_before_microusd=0,
                amount_microusd=amount,
                provider_microusd=amount - fee - rounding,
                fee_microusd=fee,
                rounding_microusd=rounding,
                capped=False,
                captured_at=at,
            ),
        )
        for row in rows:
            self.session.add(row)
            self.session.flush()

    @staticmethod
    def _sizes() -> list[tuple[str, str]]:
        return [(f"{kind}_{part}", "bytes") for kind in ("memory", "disk") for part in ("total", "free")]
