"""Jobs: submitting, reading, stopping."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from infra.bulk import insert_rows
from infra.outbox import wake
from infra.statements import Statement
from infra.wakeups import after_commit
from market.components import Components
from market.customer_api import PAGE_MAX
from market.errors import NotFound
from market.resources import Unit
from market.specs import JobSpec, spec_document
from market.states import AttemptState, JobState, Reason
from scheduler.tables import Job
from scheduler.waking import PLACE
from scheduler.work import stops
from scheduler.work.endings import Endings
from scheduler.work.locked import lock_jobs, newest_of

LIST_MAX = PAGE_MAX + 1
"""A page, and the row that tells that there is another."""
JobKey = tuple[str, str]
"""Organization id, job id."""


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job whose first window is funded: money is held for funded_seconds from its first lease on."""

    job_id: str
    organization_id: str
    spec: JobSpec
    workdir_sha256: str | None
    price_limit_microusd_per_unit_hour: int
    funded_seconds: int
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """components: what its price was made of, where more is in it than the unit's own."""

    attempt_id: str
    number: int
    state: AttemptState
    reason: Reason
    components: Components | None
    detail: str
    node_id: str
    node_name: str
    provider_id: str
    price_microusd_per_unit_hour: int
    exit_code: int | None
    placed_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job with its attempts, oldest first. spec: as market.specs.spec_document wrote it."""

    job_id: str
    organization_id: str
    name: str
    spec: dict[str, Any]
    workdir_sha256: str | None
    state: JobState
    reason: Reason
    detail: str
    exit_code: int | None
    unit: Unit
    quantity_milli: int
    price_limit_microusd_per_unit_hour: int
    max_duration_seconds: int
    attempts_placed: int
    version: int
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    attempts: tuple[AttemptRecord, ...]


def submit(session: Session, jobs: Sequence[NewJob], now: datetime) -> list[JobRecord]:
    """Queue jobs. A job id may be used once: the database raises IntegrityError for a second."""
    if not jobs:
        return []
    queued = [_row(job, now) for job in jobs]
    insert_rows(session, Job, queued)
    wake(session, PLACE)
    after_commit(session, *{f"organization:{job.organization_id}" for job in jobs})
    return [_record(SimpleNamespace(**row), ()) for row in queued]


# In one statement: who waits for a job waits for this.
_JOBS = Statement(
    """
    SELECT job.id, job.organization_id, job.name, job.spec, job.workdir_sha256, job.state, job.reason, job.detail,
        job.exit_code, job.unit, job.quantity_milli, job.price_limit_microusd_per_unit_hour, job.max_duration_seconds,
        job.attempts_placed, job.version, job.created_at, job.started_at, job.ended_at,
        attempt.id AS attempt_id, attempt.number, attempt.state AS attempt_state, attempt.reason AS attempt_reason,
        to_jsonb(made) AS components, attempt.detail AS attempt_detail, attempt.node_id, node.name AS node_name,
        attempt.provider_id, attempt.price_microusd_per_unit_hour, attempt.exit_code AS attempt_exit_code,
        attempt.placed_at, attempt.started_at AS attempt_started_at, attempt.ended_at AS attempt_ended_at
    FROM jobs AS job
    LEFT JOIN attempts AS attempt ON attempt.job_id = job.id
    LEFT JOIN nodes AS node ON node.id = attempt.node_id
    LEFT JOIN lease_components AS made ON made.attempt_id = attempt.id
    WHERE job.id = ANY(cast(:jobs AS text[]))
    ORDER BY job.id, attempt.number
    """
)
_STATES = Statement("SELECT id, organization_id, state FROM jobs WHERE id = ANY(cast(:jobs AS text[]))")


def get(session: Session, wanted: Collection[JobKey]) -> dict[str, JobRecord]:
    """The jobs that are wanted by job id; one that is missing or another's is left out."""
    given = set(wanted)
    found = _by_id(session, [job_id for _, job_id in given])
    return {job_id: record for job_id, record in found.items() if (record.organization_id, job_id) in given}


def states(session: Session, wanted: Collection[JobKey]) -> dict[JobKey, JobState]:
    """How far these jobs are; one that is missing or another's is left out."""
    given = set(wanted)
    rows = _STATES.rows(session, {"jobs": [job_id for _, job_id in given]}) if given else ()
    found = {(row.organization_id, row.id): JobState(row.state) for row in rows}
    return {key: found[key] for key in found.keys() & given}


def one(session: Session, organization_id: str, job_id: str) -> JobRecord:
    """Raises NotFound."""
    record = get(session, [(organization_id, job_id)]).get(job_id)
    if record is None:
        raise NotFound(f"there is no job {job_id}")
    return record


def list_page(
    session: Session,
    organization_id: str,
    *,
    limit: int,
    before: tuple[datetime, str] | None = None,
    states: Collection[JobState] = (),
) -> list[JobRecord]:
    """An organization's jobs, newest first. before: (created_at, id) of the last one of the page before."""
    query = select(Job.id).where(Job.organization_id == organization_id)
    if before is not None:
        query = query.where(tuple_(Job.created_at, Job.id) < tuple_(*before))
    if states:
        query = query.where(Job.state.in_(states))
    page = query.order_by(Job.created_at.desc(), Job.id.desc()).limit(min(limit, LIST_MAX))
    ids = session.scalars(page).all()
    found = _by_id(session, ids)
    return [found[job_id] for job_id in ids]


def counts(session: Session, organization_id: str | None = None) -> dict[JobState, int]:
    """How many jobs there are in each state: an organization's, or all."""
    query = select(Job.state, func.count()).group_by(Job.state)
    if organization_id is not None:
        query = query.where(Job.organization_id == organization_id)
    return dict.fromkeys(JobState, 0) | {row[0]: row[1] for row in session.execute(query)}


def request_stop(session: Session, organization_id: str, job_id: str, now: datetime) -> JobRecord:
    """Stop a job for its customer: at once while it is queued, through its node when it has a lease.

    A job that is being stopped or has ended stays as it is. Raises NotFound.
    """
    job = lock_jobs(session, [job_id]).get(job_id)
    if job is None or job.organization_id != organization_id:
        raise NotFound(f"there is no job {job_id}")
    if job.state is JobState.QUEUED:
        endings = Endings(session, now)
        endings.job(job, JobState.STOPPED, Reason.STOPPED_BY_USER)
        endings.close()
    elif not job.state.final:
        work = newest_of(session, job)
        if work is not None:
            stops.ask(session, [(work, Reason.STOPPED_BY_USER)], now)
    return _by_id(session, [job_id])[job_id]


def _row(job: NewJob, now: datetime) -> dict[str, Any]:
    """The row of a new job, every column of it given: it is shown before the database has seen it."""
    spec, resources = job.spec, job.spec.resources
    gpu = resources.gpu
    return {
        "id": job.job_id,
        "organization_id": job.organization_id,
        "name": spec.name or "",
        "spec": spec_document(spec),
        "workdir_sha256": job.workdir_sha256,
        "trace": job.trace,
        "unit": Unit.GPU if gpu else Unit.CPU,
        "quantity_milli": spec.quantity_milli,
        "price_limit_microusd_per_unit_hour": job.price_limit_microusd_per_unit_hour,
        "simulated": resources.simulated,
        "cpu_milli": resources.cpu,
        "memory_bytes": resources.memory,
        "disk_bytes": resources.disk,
        "gpu_count": gpu.count if gpu else 0,
        "gpu_model": gpu.model if gpu else None,
        "gpu_memory_min_bytes": gpu.memory_min_bytes if gpu else None,
        "gpu_memory_max_bytes": gpu.memory_max_bytes if gpu else None,
        "gpu_mig": gpu.mig if gpu else None,
        "max_duration_seconds": spec.max_duration,
        "state": JobState.QUEUED,
        "reason": Reason.QUEUED_FOR_PLACEMENT,
        "funded_seconds": job.funded_seconds,
        "created_at": now,
        "detail": "",
        "exit_code": None,
        "attempts_placed": 0,
        "used_ms": 0,
        "version": 1,
        "started_at": None,
        "ended_at": None,
    }


def _by_id(session: Session, job_ids: Sequence[str]) -> dict[str, JobRecord]:
    rows = _JOBS.rows(session, {"jobs": list(job_ids)}) if job_ids else ()
    return {
        job_id: _record(of_job[0], [_attempt(row) for row in of_job if row.attempt_id is not None])
        for job_id, of_job in ((job_id, list(group)) for job_id, group in groupby(rows, attrgetter("id")))
    }


def _record(job: Any, attempts: Iterable[AttemptRecord]) -> JobRecord:
    """Of whatever has the columns of a job."""
    return JobRecord(
        job_id=job.id,
        organization_id=job.organization_id,
        name=job.name,
        spec=job.spec,
        workdir_sha256=job.workdir_sha256,
        state=JobState(job.state),
        reason=Reason(job.reason),
        detail=job.detail,
        exit_code=job.exit_code,
        unit=Unit(job.unit),
        quantity_milli=job.quantity_milli,
        price_limit_microusd_per_unit_hour=job.price_limit_microusd_per_unit_hour,
        max_duration_seconds=job.max_duration_seconds,
        attempts_placed=job.attempts_placed,
        version=job.version,
        created_at=job.created_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        attempts=tuple(attempts),
    )


def _attempt(row: Any) -> AttemptRecord:
    return AttemptRecord(
        attempt_id=row.attempt_id,
        number=row.number,
        state=AttemptState(row.attempt_state),
        reason=Reason(row.attempt_reason),
        components=None if row.components is None else Components(**row.components),
        detail=row.attempt_detail,
        node_id=row.node_id,
        node_name=row.node_name,
        provider_id=row.provider_id,
        price_microusd_per_unit_hour=row.price_microusd_per_unit_hour,
        exit_code=row.attempt_exit_code,
        placed_at=row.placed_at,
        started_at=row.attempt_started_at,
        ended_at=row.attempt_ended_at,
    )
