"""The trace of a job: everything that happened to it, in order, from the rows alone."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.orm import Session

from market.errors import NotFound
from monitoring.job_events import EVENTS_MAX, SEQUENCE, STATEMENTS
from scheduler.tables import Job


class TraceEvent(BaseModel):
    """at: None for what is still to come; by: who wrote it; ids: what it is about."""

    at: datetime | None
    what: str
    by: str
    ids: dict[str, str]
    detail: dict[str, Any]


class JobTrace(BaseModel):
    """trace: the request that submitted it, as the logs say it. truncated: kinds of which there is more."""

    job_id: str
    trace: str | None
    events: list[TraceEvent]
    truncated: list[str]


def job_trace(session: Session, job_id: str) -> JobTrace:
    """Times of one instant stay in the order in which one follows from the other. Raises NotFound."""
    job = session.get(Job, job_id)
    if job is None:
        raise NotFound(f"there is no job {job_id}")
    events: list[TraceEvent] = []
    truncated = []
    for kind, statement in STATEMENTS.items():
        rows = (
            session.execute(text(f"{statement} ORDER BY at LIMIT {EVENTS_MAX + 1}"), {"job": job_id}).mappings().all()
        )
        if len(rows) > EVENTS_MAX:
            truncated.append(kind)
        events += [_event(dict(row)) for row in rows[:EVENTS_MAX]]
    events.sort(key=_place)
    return JobTrace(job_id=job_id, trace=job.trace, events=events, truncated=truncated)


def _place(event: TraceEvent) -> tuple[bool, float, int]:
    rank = SEQUENCE.index(event.what) if event.what in SEQUENCE else len(SEQUENCE)
    return event.at is None, event.at.timestamp() if event.at else 0.0, rank


def _event(row: dict[str, Any]) -> TraceEvent:
    """Without the names of what there is none of."""
    for part in ("ids", "detail"):
        row[part] = {name: value for name, value in row[part].items() if value not in (None, "")}
    return TraceEvent.model_validate(row)
