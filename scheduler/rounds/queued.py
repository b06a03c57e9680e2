"""A waiting job as a round reads it, thousands at a time: a plain row; and what those are told that go on waiting."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy.orm import Session

from infra.wakeups import after_commit
from infra.writing import Write, write
from market.resources import Unit
from market.states import Reason
from scheduler.placement.requests import Request
from scheduler.rounds.asking import ASKED, gpus_of, terms_for
from scheduler.tables import Job

_OWN = """organization_id, created_at, reason, detail, trace, quantity_milli, funded_seconds,
    attempts_placed, coalesce(cast(spec->>'priority' AS bigint), 0) AS priority,
    coalesce((
        SELECT discount_basis_points FROM organization_discounts AS said
        WHERE said.organization_id = jobs.organization_id
    ), 0) AS discount_basis_points"""
COLUMNS = f"{ASKED}, {_OWN}"
"""What a round reads of `jobs`."""
WAITS = "state = 'queued' AND funded_seconds IS NOT NULL"
_TELL = """told{n} AS (
    UPDATE jobs SET reason = given.reason, detail = given.detail, version = version + 1
    FROM unnest(cast(:jobs{n} AS text[]), cast(:reasons{n} AS text[]), cast(:details{n} AS text[]))
        AS given(id, reason, detail)
    WHERE jobs.id = given.id
)"""
_UNITS = {unit.value: unit for unit in Unit}


class Queued(Protocol):
    """A row of COLUMNS. wanted: the specification's `where`, as plain data; discount_basis_points: what was said of its
    organization."""

    id: str
    unit: str
    gpu_count: int
    gpu_model: str | None
    gpu_memory_min_bytes: int | None
    gpu_memory_max_bytes: int | None
    gpu_mig: str | None
    cpu_milli: int
    memory_bytes: int
    disk_bytes: int
    price_limit_microusd_per_unit_hour: int
    simulated: bool
    max_duration_seconds: int
    wanted: Mapping[str, Any] | None
    price_tolerance_milli: int
    spot: bool
    organization_id: str
    created_at: datetime
    reason: str
    detail: str
    trace: str | None
    quantity_milli: int
    funded_seconds: int
    attempts_placed: int
    priority: int
    discount_basis_points: int


def request_of(job: Queued, discount_max: int) -> Request:
    """What it asks of placement. discount_max: the most basis points that any organization is given."""
    return Request(
        job_id=job.id,
        unit=_UNITS[job.unit],
        gpu=gpus_of(job.gpu_count, job.gpu_model, job.gpu_memory_min_bytes, job.gpu_memory_max_bytes, job.gpu_mig),
        cpu_milli=job.cpu_milli,
        memory_bytes=job.memory_bytes,
        disk_bytes=job.disk_bytes,
        price_limit_microusd_per_unit_hour=job.price_limit_microusd_per_unit_hour,
        simulated=job.simulated,
        price_tolerance_milli=job.price_tolerance_milli,
        terms=terms_for(job.max_duration_seconds, job.wanted),
        spot=job.spot,
        discount_basis_points=min(job.discount_basis_points, discount_max),
    )


class Words:
    """Why jobs of a round go on waiting, as they will read it: what was said last of each, written once."""

    def __init__(self, jobs: Mapping[str, Queued]) -> None:
        self._jobs = jobs
        self._said: dict[str, tuple[str, str]] = {}

    def of(self, job_id: str) -> tuple[str, str]:
        """Its reason and detail."""
        return self._said.get(job_id) or (self._jobs[job_id].reason, self._jobs[job_id].detail)

    def say(self, job_id: str, detail: str, reason: Reason | None = None) -> None:
        """Without a reason the one it has stays."""
        self._said[job_id] = reason.value if reason else self.of(job_id)[0], detail

    def write(self, session: Session) -> None:
        """Count the changes (the jobs' ETags) and wake those who follow the jobs or their organizations."""
        if not self._said:
            return
        reasons, details = zip(*self._said.values(), strict=True)
        values = {"jobs{n}": list(self._said), "reasons{n}": list(reasons), "details{n}": list(details)}
        write(session, Write(frozenset({Job.__tablename__}), _TELL, values))
        wake_followers(session, [self._jobs[job_id] for job_id in self._said])


def wake_followers(session: Session, jobs: list[Queued]) -> None:
    """Wake those who follow these jobs or their organizations."""
    after_commit(session, *[f"job:{job.id}" for job in jobs])
    after_commit(session, *{f"organization:{job.organization_id}" for job in jobs})
